"""``spacy_tcm.width_variants.v1``: the same text with other digits, letters and punctuation."""

import re
import string
from random import Random

from spacy_tcm.training.augmentation.edits import HAN, Augmenter, check_share, replace_text
from spacy_tcm.training.validation import Record

Style = dict[str, str]


def _widths(characters: str) -> tuple[Style, Style]:
    """To full width, to half width."""
    full = {char: chr(ord(char) + 0xFEE0) for char in characters}
    return full, {wide: char for char, wide in full.items()}


_STOPS = {"，": ",", "。": ".", "：": ":", "；": ";", "？": "?", "！": "!"}

# Habits of writing, each with the ways it can go. One way changes a whole record, as its writer
# would.
_HABITS: tuple[tuple[Style, ...], ...] = (
    _widths(string.digits),
    _widths(string.ascii_letters),
    _widths("()[]"),
    _widths("%+-/<>=~"),
    (_STOPS, {half: full for full, half in _STOPS.items()}),
    ({"、": "，"}, {"，": " "}),
)

# Left alone: what could join two numbers to one or change what a number is ("12，345"), and the
# half-width point that is no full stop ("i.v.").
_FIXED = re.compile(
    r"[0-9０-９]+(?:[,，][0-9０-９]+)+"
    r"|(?<=[0-9０-９])[.．。、](?=[0-9０-９])"
    rf"|(?<![{HAN}])\."
)
_FINAL_STOP = re.compile(r"。(?=\s*$)", re.MULTILINE)


def create_width_variants(share: float = 0.25) -> Augmenter:
    """``spacy_tcm.width_variants.v1``: full- and half-width characters, other punctuation.

    Digits, letters, brackets, signs and stops change their width, 、 becomes ， or ， a space
    (outside of entities), and the full stops that end lines are left out.

    share: how probable each of these seven changes is, each for a record as a whole, from 0 to 1.
    RAISES RecordError: share is out of range.
    """
    check_share("share", share)

    def augment(record: Record, rng: Random) -> Record:
        text = record["text"]
        style: Style = {}
        for ways in _HABITS:
            if rng.random() < share:
                style |= rng.choice(ways)
        inside = {char for start, end, _ in record["entities"] for char in range(start, end)}
        fixed = {char for match in _FIXED.finditer(text) for char in range(*match.span())}
        changes = {
            i: style[char]
            for i, char in enumerate(text)
            if char in style and i not in fixed and not (style[char] == " " and i in inside)
        }
        if rng.random() < share:
            stops = {match.start() for match in _FINAL_STOP.finditer(text)}
            changes |= dict.fromkeys(stops - inside, "")
        return replace_text(record, [(i, i + 1, new) for i, new in sorted(changes.items())])

    return augment
