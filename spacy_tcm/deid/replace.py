"""The masked copy of a text: what stands where an identifier was, and the way back by offsets."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from hashlib import blake2b, sha256
from pathlib import Path
from secrets import token_bytes
from typing import Any, NamedTuple

from spacy_tcm.deid.dates import find_year, shift_date
from spacy_tcm.deid.find import Identifier, IdentifierFinder, count_kinds, find_check_character
from spacy_tcm.errors import Errors, ModelError

ACTIONS = ("placeholder", "mask", "surrogate", "shift")
LEAST_KEY = 16  # bytes

_DATES = ("DATE", "MONTH", "BIRTH")


class Piece(NamedTuple):
    """One replaced identifier: its kind, and its place in the old text and in the new one."""

    kind: str
    start: int
    end: int
    new_start: int
    new_end: int


class OffsetMap:
    """Characters of the old text <-> of the new one. pieces: in order, not overlapping."""

    def __init__(self, pieces: Iterable[Sequence[Any]] = ()):
        self.pieces = [Piece(*piece) for piece in pieces]

    def to_new(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of the old text is in the new one. What cuts a replaced piece gets all of
        it."""
        return self._map(start, end, [(p[1:3], p[3:5]) for p in self.pieces])

    def to_old(self, start: int, end: int) -> tuple[int, int]:
        """Where a span of the new text is in the old one, as `to_new`."""
        return self._map(start, end, [(p[3:5], p[1:3]) for p in self.pieces])

    def restore(self, text: str, values: Sequence[str]) -> str:
        """The old text, of the new one and the values that were replaced, in order."""
        parts, at = [], 0
        for piece, value in zip(self.pieces, values, strict=True):
            parts += [text[at : piece.new_start], value]
            at = piece.new_end
        return "".join(parts) + text[at:]

    @staticmethod
    def _map(
        start: int, end: int, pairs: Iterable[tuple[Sequence[int], Sequence[int]]]
    ) -> tuple[int, int]:
        shift_start = shift_end = 0
        new_start = new_end = None
        for (a, b), (c, d) in pairs:
            if b <= start:
                shift_start = d - b
            elif a <= start and (start > a or start < end):
                new_start = c
            if b <= end:
                shift_end = d - b
            elif a < end:
                new_end = d
        first = start + shift_start if new_start is None else new_start
        return first, max(first, end + shift_end if new_end is None else new_end)


class Deidentified(NamedTuple):
    """text: the masked copy. map: of offsets. counts: how many were replaced, by kind."""

    text: str
    map: OffsetMap
    counts: dict[str, int]


class Deidentifier:
    """Replaces what an :class:`IdentifierFinder` finds.

    action: "placeholder": the kind in brackets, as [姓名].
        "mask": one * for each character, so that offsets stay.
        "surrogate": invented values of the same form, the same for the same value of one patient,
        and dates moved as by "shift".
        "shift": dates moved by one number of days for each patient, 1 to 365 into the past, so that
        intervals stay; the others as "placeholder".
    key: secret, at least 16 bytes. Who has it can check guesses of what was replaced, and undo the
        shift; without one, a random key holds for as long as this object does. It is never saved.
    """

    def __init__(
        self, finder: IdentifierFinder, action: str = "placeholder", key: bytes | None = None
    ):
        """RAISES ModelError: there is no such action, or the key is too short."""
        if action not in ACTIONS:
            raise ModelError(Errors.E635.format(found=action, actions=", ".join(ACTIONS)))
        if key is not None and len(key) < LEAST_KEY:
            raise ModelError(
                Errors.E637.format(path="key", cause=f"it has {len(key)} bytes", least=LEAST_KEY)
            )
        self.finder = finder
        self.action = action
        self._key = sha256(key or token_bytes(32)).digest()

    def __call__(self, text: str, patient: str | None = None) -> Deidentified:
        """patient: whose note it is: surrogates and the shift of dates are the same in all notes of
        one patient, and differ between patients. None: nobody in particular, one and the same."""
        found = self.finder.find(text)
        if self.action in ("placeholder", "mask"):
            found = [item for item in found if item.kind not in self.finder.kept]
        return self.replace(text, found, patient)

    def replace(
        self, text: str, found: Sequence[Identifier], patient: str | None = None
    ) -> Deidentified:
        """found: in order, not overlapping."""
        draw = _Draw(self._key, patient or "")
        parts: list[str] = []
        pieces: list[Piece] = []
        at = length = 0
        year: int | None = None
        for item in found:
            value = text[item.start : item.end]
            if item.kind in _DATES:
                year = find_year(value.translate(_NARROW)) or year
            new = self._new_value(item.kind, value, draw, year)
            parts += [text[at : item.start], new]
            length += item.start - at
            pieces.append(Piece(*item, length, length + len(new)))
            length += len(new)
            at = item.end
        parts.append(text[at:])
        return Deidentified("".join(parts), OffsetMap(pieces), count_kinds(found))

    def pseudonym(self, value: str) -> str:
        """What stands for a record's id: 16 hexadecimal digits, the same for the same id."""
        return _Draw(self._key, "").digest("id", value)[:8].hex()

    def _new_value(self, kind: str, value: str, draw: "_Draw", year: int | None) -> str:
        placeholder = f"[{self.finder.kinds[kind]}]"
        if self.action == "mask":
            return "*" * len(value)
        if self.action == "placeholder":
            return placeholder
        if kind in _DATES:
            days = -1 - draw.number(365, "shift", "")
            return shift_date(value.translate(_NARROW), days, year or 2000) or placeholder
        if self.action == "shift":
            return placeholder
        for attempt in range(100):
            new = invent(
                kind,
                value,
                lambda n, *what, a=attempt: draw.number(n, str(a), *what),
                self.finder.data["surrogates"],
            )
            if new != value:
                return new
        return placeholder


_NARROW = {c: c - 0xFEE0 for c in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xA0: 0x20}

Draw = Callable[..., int]


class _Draw:
    """Numbers that follow from key, patient and value, and from which these do not."""

    def __init__(self, key: bytes, patient: str):
        self._key = key
        self._patient = patient

    def digest(self, *what: str) -> bytes:
        parts = [self._patient, *what]
        # The lengths keep ("a", "bc") and ("ab", "c") apart.
        message = b"".join(len(p := part.encode()).to_bytes(4, "big") + p for part in parts)
        return blake2b(message, key=self._key, digest_size=16).digest()

    def number(self, n: int, *what: str) -> int:
        """0 to n - 1."""
        return int.from_bytes(self.digest(*what), "big") % n


def invent(kind: str, value: str, draw: Draw, lists: Mapping[str, Any]) -> str:
    """A value of the same form. draw(n, ...): 0 to n - 1, the same for the same further arguments.

    Of nobody: citizens' numbers are of the region 99, which is none, mobile ones begin with 10.
    """
    plain = value.translate(_NARROW)
    if kind in ("NAME", "DOCTOR"):
        return _invent_name(plain, draw, lists)
    if kind == "AGE":
        return "90" if plain.isascii() else "九十"
    if kind in ("ADDRESS", "EMPLOYER", "HOSPITAL"):
        house = 1 + draw(997, kind, plain)
        streets = lists["streets"]
        street = streets[draw(len(streets), kind, plain, "street")]
        forms = {
            "ADDRESS": f"某市某区{street}路{house}号",
            "EMPLOYER": f"某市{street}{house}公司",
            "HOSPITAL": f"某市{street}{house}医院",
        }
        return forms[kind]
    if kind == "EMAIL":
        return f"user{draw(10**8, kind, plain):08d}@example.com"
    kept = [c for c in plain if c.isalnum()]
    number = "".join(kept)
    if kind == "ID_CARD":
        return _invent_id(plain, number, draw)
    drawn = [_like(c, draw, i, kind, number, lists) for i, c in enumerate(kept)]
    if kind == "MOBILE" and len(drawn) >= 11:
        drawn[-11:-9] = "10"
    stream = iter(drawn)
    return "".join(next(stream) if c.isalnum() else c for c in plain)


def _like(c: str, draw: Draw, place: int, kind: str, value: str, lists: Mapping[str, Any]) -> str:
    what = (kind, value, str(place))
    if c.isdigit() and c.isascii():
        # A first 0 says that it is an area code, or pads a number.
        return (
            c
            if c == "0" and place == 0
            else str(draw(10, *what))
            if place
            else str(1 + draw(9, *what))
        )
    if c.isascii():
        return chr(ord("A" if c.isupper() else "a") + draw(26, *what))
    if kind == "PLATE" and place == 0:
        return lists["plates"][draw(len(lists["plates"]), *what)]
    return c


def _invent_id(plain: str, number: str, draw: Draw) -> str:
    year = 1940 + draw(70, "ID_CARD", number, "year")
    day = date.fromordinal(date(year, 1, 1).toordinal() + draw(365, "ID_CARD", number, "day"))
    serial = f"{draw(1000, 'ID_CARD', number, 'serial'):03d}"
    if len(number) == 15:
        return f"990101{day:%y%m%d}{serial}"
    digits = f"990101{day:%Y%m%d}{serial}"
    stream = iter(digits + find_check_character(digits))
    return "".join(next(stream, c) if c.isalnum() else c for c in plain)


def _invent_name(name: str, draw: Draw, lists: Mapping[str, Any]) -> str:
    """The same surname gives the same one; what has dots or more than four characters, three."""
    surnames, given = lists["surnames"], lists["given"]
    compound = len(name) == 4 and "·" not in name
    head, tail = (name[:2], name[2:]) if compound else (name[:1], name[1:])
    pool = lists["compound"] if compound else surnames
    new = pool[draw(len(pool), "NAME", head)]
    length = len(tail) if not name.isascii() and len(name) <= 4 else 2
    return new + "".join(given[draw(len(given), "NAME", name, str(i))] for i in range(length))


def read_key(path: str | Path) -> bytes:
    """The bytes of a key file. RAISES ModelError: it cannot be read, or is too short."""
    try:
        key = Path(path).read_bytes().strip()
    except OSError as error:
        cause = error.strerror or type(error).__name__
        raise ModelError(Errors.E637.format(path=path, cause=cause, least=LEAST_KEY)) from None
    if len(key) < LEAST_KEY:
        cause = f"it has {len(key)} bytes"
        raise ModelError(Errors.E637.format(path=path, cause=cause, least=LEAST_KEY))
    return key
