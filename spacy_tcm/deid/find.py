"""Where a note tells who somebody is: rules over cues, lists and checksums, all in one table."""

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from spacy_tcm.deid.dates import find_dates
from spacy_tcm.errors import Errors
from spacy_tcm.linking import to_simplified
from spacy_tcm.tables import Table

DEFAULT_TABLE = Path(__file__).parents[1] / "resources" / "deid.json"

# Those that are told by number.
NUMBERS = frozenset(
    ("ID_CARD", "MOBILE", "LANDLINE", "RECORD_NO", "BED", "INSURANCE", "POSTCODE", "QQ", "WECHAT")
)

# In characters, with what separates it from the number.
_LONGEST_HEADER = 20

_HAN = "[\u3400-\u9fff]"
_SPACE = "[ \t]*"
_SEPARATOR = f"{_SPACE}(?:(?:[:=]|号?码|为|是){_SPACE}){{0,2}}"
_DOTS = "·•・‧∙"
_DOTTED = f"{_HAN}{{2,8}}(?:[{_DOTS}]{_HAN}{{2,8}})+"
# Full-width forms count as their ASCII twins; one character each, so offsets stay.
_NARROW = {c: c - 0xFEE0 for c in range(0xFF01, 0xFF5F)} | {0x3000: 0x20, 0xA0: 0x20}

# Of a citizen's number: weights and check characters (GB 11643-1999, ISO 7064 MOD 11-2).
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_PROVINCES = "11|12|13|14|15|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3]"
_MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_ID18 = re.compile(
    rf"(?<![\dA-Za-z])(?:{_PROVINCES})\d{{4}}(?:18|19|20)\d{{2}}{_MONTH_DAY}\d{{3}}[\dXx]"
    r"(?![\dA-Za-z])"
)
_ID15 = re.compile(
    rf"(?<![\dA-Za-z.])(?:{_PROVINCES})\d{{4}}\d{{2}}{_MONTH_DAY}\d{{3}}(?![\dA-Za-z.])"
)

_OLD = re.compile(
    r"(?<![\d.])(?:9\d|1[0-3]\d)(?=(?:余|多)? ?周?岁)|(?<=年龄:)(?:9\d|1[0-3]\d)(?!\d)"
    "|(?:九十[一二三四五六七八九]?|一百[零〇]?[一二三四五六七八九]?)(?=(?:余|多)?周?岁)"
)
_DEMOGRAPHIC = r"[,、( ]{0,3}(?:性别:? ?)?(?:男|女)"

# A house, a flat: what follows the names of an address.
_HOUSE = (
    r"(?:[A-Za-z东西南北]?\d+[A-Za-z]?(?:-\d+)*"
    r"(?:号楼|号院|号|弄|幢|栋|座|单元|组|队|室|层|楼|户|房|巷|村)?"
    r"|第?[一二三四五六七八九十]+(?:组|队|社|巷|单元|号楼|栋|村民组)"
    r"|[A-Za-z东西南北]?(?:座|栋|幢|单元|区)|附近|之)"
)
_PLACE = (
    "自治县|自治旗|新区|开发区|林场|街道|苏木|社区|小区|新村|大道|胡同|花园|公寓|宿舍|家园"
    "|县|区|市|旗|镇|乡|村|屯|庄|寨|路|街|巷|弄|里|苑|园"
)


class Identifier(NamedTuple):
    """One place that tells who somebody is. start, end: characters, end exclusive."""

    kind: str
    start: int
    end: int


class IdentifierFinder(Table):
    """Finds what the table of ``resources/deid.json``, whose README describes it, speaks of.

    ``data`` is the whole table, JSON-able: ``IdentifierFinder(finder.data)`` is the same finder.
    """

    DEFAULT, ERROR = DEFAULT_TABLE, Errors.E636

    def _compile(self) -> None:
        self.kinds: dict[str, str] = dict(self.data["kinds"])
        self.kept = frozenset(_strings(self.data["kept"], "kept"))
        self._simpler = str.maketrans(
            self.data["traditional"]["from"], self.data["traditional"]["to"]
        )
        self._compile_numbers()
        self._compile_names()
        self._compile_places()

    def find(self, text: str) -> list[Identifier]:
        """All of them, in order; none overlap."""
        return _Search(self, self._plain(text)).run()

    def find_numbers(self, text: str) -> list[Identifier]:
        """Those that are numbers, each with the header before it (住院号：)."""
        found = [item for item in self.find(text) if item.kind in NUMBERS]
        text = self._plain(text)
        for i, (kind, start, end) in enumerate(found):
            at = max(0, start - _LONGEST_HEADER)
            if header := self._header_before.search(text[at:start]):
                found[i] = Identifier(kind, at + header.start(), end)
        return found

    def _plain(self, text: str) -> str:
        """Narrow and simplified, of the same length."""
        return to_simplified(text.translate(_NARROW)).translate(self._simpler)

    def _compile_numbers(self) -> None:
        data = self.data
        self._cued: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
        for kind, entry in data["numbers"].items():
            self._check_kind(kind)
            value = re.compile(rf"{_SEPARATOR}(?P<value>{entry['value']})")
            for cue in _strings(entry["cues"], kind):
                self._cued.setdefault(cue, []).append((kind, value))
        self._number_cue = re.compile(rf"(?<![A-Za-z])(?:{_any(self._cued)})")
        self._header_before = re.compile(rf"(?<![A-Za-z])(?:{_any(self._cued)}){_SEPARATOR}\Z")
        self._free = []
        for kind, patterns in data["patterns"].items():
            self._check_kind(kind)
            self._free += [(kind, re.compile(p)) for p in _strings(patterns, kind)]
        birth = _any(_strings(data["birth_cues"], "birth_cues"))
        self._birth_before = re.compile(rf"(?:{birth}){_SEPARATOR}\Z")
        self._birth_after = re.compile(r" ?(?:出生|生(?=[,，。;；、) ]|于|人|\Z))")
        self._birth_year = re.compile(
            rf"(?:{birth}){_SEPARATOR}(?P<value>(?:19|20)\d{{2}}年?)(?!\d)"
        )
        compact = _any(_strings(data["compact_date_cues"], "compact_date_cues"))
        self._compact_before = re.compile(rf"(?:{compact}){_SEPARATOR}\Z")

    def _compile_names(self) -> None:
        names = self.data["names"]
        self._surnames = frozenset(names["surnames"])
        self._words_too = frozenset(names["words_too"])
        self._not_in_given = frozenset(names["not_in_given"])
        self._not_names = tuple(_strings(names["not_names"], "not_names"))
        self._compound = frozenset(_strings(names["compound"], "compound"))
        compound = _any(self._compound)
        surname = f"[{re.escape(names['surnames'])}]"
        given = f"[^\\W\\d_a-zA-Z{re.escape(names['not_in_given'])}]"
        self._full_name = re.compile(
            rf"(?:{compound}){given}{{1,2}}?|{surname}{given}{{1,2}}?|{_DOTTED}"
        )
        after = _any(_strings(names["after_name"], "after_name"))
        told = _any(_strings(names["told"], "told"))
        self._told = re.compile(rf"{_DEMOGRAPHIC}|[,、( ]{{1,3}}\d{{1,3}}岁|{told}")
        self._unknown = re.compile(rf"(?P<value>{given}{{2,3}}|{_DOTTED}){_DEMOGRAPHIC}")
        self._name_end = re.compile(rf"\Z|(?!{_HAN}|[{_DOTS}])|(?:{after})")
        title = _any(_strings(names["titles"], "titles"))
        dotted = f"(?:(?<!{_HAN})(?![请由经])|(?<=[请由经])){_DOTTED}"
        name = f"(?:{compound}){given}{{1,2}}|{dotted}|{surname}{given}{{0,2}}"
        self._titled = re.compile(rf"(?P<value>{name})(?=(?:{title}))")
        self._title = re.compile(title)
        polite = _any(_strings(names["polite"], "polite"))
        self._polite = re.compile(rf"(?<!{_HAN})(?P<value>{compound}|{surname})(?=(?:{polite}))")
        self._strong, self._weak = [], []
        for kind, cues in names["strong_cues"].items():
            self._check_kind(kind)
            cue = _any(_strings(cues, kind))
            self._strong.append(
                (
                    kind,
                    re.compile(
                        rf"(?:{cue}){_SPACE}(?:\([^)]{{0,6}}\))?(?:{_SPACE}:{_SPACE}|[ \t]+)"
                    ),
                )
            )
            self._weak.append((kind, re.compile(rf"(?:{cue}){_SPACE}")))
        weak = _any(_strings(names["weak_cues"], "weak_cues"))
        self._weak.append(("NAME", re.compile(rf"(?:{weak}):?{_SPACE}")))
        whole = rf"(?:{compound}|{surname}){given}{{1,2}}|{_DOTTED}"
        self._listed = re.compile(
            rf"(?:^|(?<=[\n\r。;:| ]))(?P<value>{whole})"
            rf"(?={_DEMOGRAPHIC}性?[,。;、|)\s]|[,、 ]{{1,3}}\d{{1,3}}岁)"
        )
        self._headers = re.compile(_any(_strings(self.data["header_words"], "header_words")))

    def _compile_places(self) -> None:
        addresses, employers, hospitals = (
            self.data[x] for x in ("addresses", "employers", "hospitals")
        )
        provinces, cities = (_strings(addresses[x], x) for x in ("provinces", "cities"))
        self._known = re.compile(_any([*provinces, *cities]))
        self._address_header = re.compile(
            rf"(?:{_any(_strings(addresses['cues'], 'cues'))}){_SPACE}[:=]{_SPACE}"
        )
        self._lives = re.compile(
            rf"(?:{_any(_strings(addresses['lead_ins'], 'lead_ins'))}){_SPACE}"
        )
        self._not_addresses = frozenset(_strings(addresses["not_values"], "not_values"))
        level = rf"(?:{_HAN}{{1,8}}?(?:{_PLACE})+)"
        place = rf"(?:{_any(provinces)})(?:省|市|(?:{_HAN}{{1,3}})?自治区|特别行政区)?"
        city = rf"(?:{_any(cities)})(?:市|地区|{_HAN}{{0,6}}自治州|州|盟)?"
        start = rf"(?:{place}(?:{city})?|{city})"
        self._whole_address = re.compile(rf"{start}{level}*{_HOUSE}*")
        self._any_address = re.compile(rf"(?:{start})?{level}*{_HOUSE}*")
        self._road = re.compile(
            rf"{_HAN}{{2,8}}(?:路|街|大道|巷|胡同|弄|村)\d{{1,5}}(?:弄|号|组)(?!方){_HOUSE}*"
        )
        self._sure = re.compile(rf"省|市|自治|\d号|(?:{_any(provinces)})(?:{_any(cities)})")
        self._explicit = re.compile(r"省|市|自治|县|镇|乡|\d号|街道")
        suffix = _any(_strings(employers["suffixes"], "suffixes"))
        self._employer_header = re.compile(
            rf"(?:{_any(_strings(employers['cues'], 'cues'))}){_SPACE}[:=]{_SPACE}"
        )
        self._employer_end = re.compile(rf"(?:{suffix})\Z")
        work = _any(_strings(employers["work_words"], "work_words"))
        roles = _any(_strings(employers["roles"], "roles"))
        lead = _any([x for x in _strings(employers["lead_ins"], "lead_ins") if x != "在"])
        body = rf"(?P<value>[\u3400-\u9fffA-Za-z0-9]{{2,24}}?(?:{suffix}))"
        self._works = (
            re.compile(rf"(?:{lead}){body}(?!{_HAN}{{0,4}}(?:{suffix}))"),
            re.compile(rf"在{body}(?={work})"),
            re.compile(rf"[系是为]{body}(?=(?:退休|离休|下岗)?(?:{roles}))"),
        )
        self._not_employers = frozenset(_strings(employers["not_values"], "not_values"))
        self._generic_work = re.compile(
            rf"(?:{_any(_strings(employers['generic'], 'generic'))})*(?:{suffix})?"
        )
        self._hospital = re.compile(
            rf"(?:{_any(_strings(hospitals['suffixes'], 'suffixes'))})"
            rf"(?:{_HAN}{{1,4}}(?:院区|分院))?"
        )
        self._cut_after = re.compile(_any(_strings(hospitals["cut_after"], "cut_after")))
        self._generic_hospital = re.compile(_any(_strings(hospitals["generic"], "generic")))
        self._own_hospital = re.compile(_any(_strings(hospitals["own_name"], "own_name")))

    def _check_kind(self, kind: str) -> None:
        if kind not in self.kinds:
            raise ValueError(f"{kind!r} is not among the 'kinds'")


def has_valid_checksum(number: str) -> bool:
    """Of 18 characters: whether the last one is what ISO 7064 MOD 11-2 gives for the others."""
    if len(number) != 18 or not number[:17].isdigit():
        return False
    return find_check_character(number[:17]) == number[17].upper()


def find_check_character(digits: str) -> str:
    """The 18th character of a citizen's number, of its 17 digits."""
    return _CHECKS[sum(w * int(d) for w, d in zip(_WEIGHTS, digits, strict=True)) % 11]


class _Search:
    """Goes through one text, the surest rules first; what is taken stays taken."""

    def __init__(self, finder: IdentifierFinder, text: str):
        self.finder = finder
        self.text = text
        self.taken: list[Identifier] = []
        self.names: set[tuple[str, str]] = set()

    def run(self) -> list[Identifier]:
        for search in (
            self._numbers,
            self._dates,
            self._headers,
            self._hospitals,
            self._strong_names,
            self._weak_names,
            self._employers,
            self._addresses,
            self._repeated_names,
        ):
            search()
        for match in _OLD.finditer(self.text):
            self._take("AGE", match.start(), match.end())
        return sorted(self.taken, key=lambda found: found.start)

    def _take(self, kind: str, start: int, end: int) -> bool:
        if start >= end or any(start < t.end and t.start < end for t in self.taken):
            return False
        self.taken.append(Identifier(kind, start, end))
        return True

    def _take_all(self, kind: str, pattern: re.Pattern[str], group: str | int = 0) -> None:
        for match in pattern.finditer(self.text):
            self._take(kind, *match.span(group))

    def _numbers(self) -> None:
        finder = self.finder
        for kind, pattern in finder._free:
            if kind == "EMAIL":
                self._take_all(kind, pattern)
        for number in _ID18.finditer(self.text):
            if has_valid_checksum(number[0]):
                self._take("ID_CARD", *number.span())
        for cue in finder._number_cue.finditer(self.text):
            for kind, value in finder._cued[cue[0]]:
                if match := value.match(self.text, cue.end()):
                    self._take(kind, *match.span("value"))
        self._take_all("ID_CARD", _ID15)
        for kind, pattern in finder._free:
            self._take_all(kind, pattern)

    def _dates(self) -> None:
        finder, text = self.finder, self.text
        for date in find_dates(text):
            before = text[max(0, date.start - 12) : date.start]
            birth = finder._birth_before.search(before) or finder._birth_after.match(text, date.end)
            if date.compact and not birth and not finder._compact_before.search(before):
                continue
            kind = "BIRTH" if birth else "DATE" if date.exact else "MONTH"
            self._take(kind, date.start, date.end)
        self._take_all("BIRTH", finder._birth_year, "value")

    def _run_end(self, start: int, spaces: bool = False) -> int:
        """Where the value of a header ends: punctuation, the next header, or what is taken."""
        stop = re.compile(r"[\n\r,;。|]| {2}|\t" + ("" if spaces else "| ")).search(
            self.text, start
        )
        end = stop.start() if stop else len(self.text)
        header = self.finder._headers.search(self.text, start + 1, end)
        end = header.start() if header else end
        end = min([end, *(t.start for t in self.taken if t.start >= start)])
        while end > start and self.text[end - 1] in " \t、(/":
            end -= 1
        return end

    def _headers(self) -> None:
        finder, text = self.finder, self.text
        for match in finder._address_header.finditer(text):
            end = self._run_end(match.end(), spaces=True)
            value = text[match.end() : end]
            head, _, tail = value.partition(" ")
            if tail and not re.match(
                rf"{_HAN}{{0,10}}(?:{_PLACE})|[A-Za-z]?\d+(?:号|栋|幢|室|弄|-)", tail
            ):
                value = head
            if re.search(_HAN, value) and len(value) > 1 and value not in finder._not_addresses:
                self._take("ADDRESS", match.end(), match.end() + len(value))
        for match in finder._employer_header.finditer(text):
            end = self._run_end(match.end())
            value = text[match.end() : end]
            named = finder._employer_end.search(value) or match[0].strip(" \t:=") != "单位"
            if len(re.findall(_HAN, value)) > 1 and named and value not in finder._not_employers:
                self._take("EMPLOYER", match.end(), end)

    def _hospitals(self) -> None:
        finder, text = self.finder, self.text
        for match in finder._hospital.finditer(text):
            start = match.start()
            while start > max(0, match.start() - 20) and re.match(_HAN, text[start - 1]):
                start -= 1
            known = finder._known.search(text, start, match.end())
            if known:
                start = known.start()
            else:
                cuts = [m.end() for m in finder._cut_after.finditer(text, start, match.start())]
                start = max([start, *cuts])
            name = text[start : match.start()]
            if "某" in name:
                continue
            own = finder._own_hospital.search(name)
            if own or len(finder._generic_hospital.sub("", name)) > 1:
                self._take("HOSPITAL", start, match.end())

    def _strong_names(self) -> None:
        finder, text = self.finder, self.text
        for kind, pattern in finder._strong:
            for match in pattern.finditer(text):
                at = match.end()
                colon = ":" in match[0]
                while end := self._lenient_name(at, kind, colon):
                    self._take_name(kind, at, end)
                    more = re.compile(rf"{_SPACE}[/、]{_SPACE}").match(text, end)
                    if not more:
                        break
                    at = more.end()
        for match in finder._listed.finditer(text):
            value = match["value"]
            if not self._is_word(value) and not (len(value) == 2 and self._may_be_words(value)):
                self._take_name("NAME", *match.span("value"))

    def _lenient_name(self, start: int, kind: str, colon: bool) -> int | None:
        """The end of the name that is a header's whole value; after a colon also one of unknown
        surname."""
        finder, text = self.finder, self.text
        latin = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+){1,2}").match(text, start)
        if latin and kind == "NAME":
            return latin.end()
        run = re.compile(rf"{_HAN}+(?:[{_DOTS}]{_HAN}+)*").match(text, start)
        if not run:
            return None
        end = run.end()
        for stop in (finder._headers, finder._title, re.compile("[男女]|已婚|未婚")):
            found = stop.search(text, start + 1, end)
            end = found.start() if found else end
        value = text[start:end]
        longest = 16 if any(dot in value for dot in _DOTS) else 4
        if 2 <= len(value) <= longest and not self._is_word(value):
            known = value[0] in finder._surnames or value[:2] in finder._compound
            if known or (not colon and longest == 4):
                return end if known else None
            if not finder._not_in_given.intersection(value):
                return end
        return self._sure_name(start, kind == "DOCTOR")

    def _sure_name(self, start: int, sure: bool) -> int | None:
        """The end of a name, by what stands after it. sure: by the cue, it can hardly be else."""
        finder, text = self.finder, self.text
        for end in range(start + 2, min(start + 20, len(text)) + 1):
            if not finder._full_name.fullmatch(text, start, end):
                continue
            if finder._name_end.match(text, end):
                name = text[start:end]
                least = (3 if sure else 99) if self._may_be_words(name) else 0
                told = len(name) >= least or finder._told.match(text, end)
                return end if told and not self._is_word(name) else None
        unknown = finder._unknown.match(text, start)
        return unknown.end("value") if unknown and not self._is_word(unknown[0]) else None

    def _may_be_words(self, name: str) -> bool:
        """Its surname is an everyday word, too (于, 常): it takes more to be a name."""
        if any(dot in name for dot in _DOTS) or name[:2] in self.finder._compound:
            return False
        return name[0] in self.finder._words_too

    def _is_word(self, name: str) -> bool:
        return name.startswith(self.finder._not_names) or "某" in name

    def _weak_names(self) -> None:
        for kind, pattern in self.finder._weak:
            for match in pattern.finditer(self.text):
                end = self._sure_name(match.end(), kind == "DOCTOR")
                if end:
                    self._take_name(kind, match.end(), end)
        for match in self.finder._titled.finditer(self.text):
            start, end = match.span("value")
            value = match["value"]
            if title := self.finder._title.search(value, 1):
                end, value = start + title.start(), value[: title.start()]
            if len(value) == 1:
                before = self.text[start - 1 : start]
                if re.match(_HAN, before) and before not in "请经由遵嘱与和及向随":
                    continue
            elif self._is_word(value) or value[0] in self.finder._words_too:
                continue
            self._take_name("DOCTOR", start, end)
        self._take_all("NAME", self.finder._polite, "value")

    def _take_name(self, kind: str, start: int, end: int) -> None:
        if self._take(kind, start, end):
            self.names.add((kind, self.text[start:end]))

    def _repeated_names(self) -> None:
        """Names are found by what stands around them; where they stand again, by themselves."""
        for kind, name in sorted(self.names):
            if len(name) > 1:
                for match in re.finditer(re.escape(name), self.text):
                    self._take(kind, *match.span())

    def _employers(self) -> None:
        for pattern in self.finder._works:
            for match in pattern.finditer(self.text):
                value = match["value"]
                generic = self.finder._generic_work.fullmatch(value) or value.startswith("某")
                if not generic and not self.finder._hospital.search(value):
                    self._take("EMPLOYER", *match.span("value"))

    def _addresses(self) -> None:
        finder, text = self.finder, self.text
        for lead in finder._lives.finditer(text):
            match = finder._any_address.match(text, lead.end())
            if match and len(match[0]) > 1 and match[0] not in finder._not_addresses:
                vague = re.match("某|外地|当地|本地|乡|农", match[0])
                if not vague and (
                    finder._known.match(match[0]) or finder._explicit.search(match[0], 2)
                ):
                    self._take("ADDRESS", *match.span())
        for match in finder._whole_address.finditer(text):
            if finder._sure.search(match[0]) and len(match[0]) > 4:
                self._take("ADDRESS", *match.span())
        for match in finder._road.finditer(text):
            cuts = [
                m.end()
                for m in finder._cut_after.finditer(match[0])
                if m.end() < match[0].find("路")
            ]
            self._take("ADDRESS", match.start() + max([0, *cuts]), match.end())


@cache
def _default_finder() -> IdentifierFinder:
    return IdentifierFinder.from_path()


def find_numbers(text: str) -> list[Identifier]:
    """The numbers of records, beds, phones and the like, with their headers, by our own table."""
    return _default_finder().find_numbers(text)


def _strings(found: Any, name: str) -> list[str]:
    if not isinstance(found, list) or not all(isinstance(x, str) and x for x in found):
        raise ValueError(f"{name!r} must be a list of texts that are not empty")
    return found


def _any(words: Iterable[str]) -> str:
    """A pattern of any of them, the longest first."""
    ordered: Sequence[str] = sorted(set(words), key=lambda word: (-len(word), word))
    return "|".join(map(re.escape, ordered))


def count_kinds(found: Iterable[Identifier]) -> dict[str, int]:
    """How many of each kind, in order of the alphabet."""
    counts: dict[str, int] = {}
    for item in found:
        counts[item.kind] = counts.get(item.kind, 0) + 1
    return dict(sorted(counts.items()))
