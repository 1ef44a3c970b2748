"""What a run found, as a table for the terminal. Chinese characters take two columns there."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size

import wasabi

from spacy_tcm.records.job import ERRORS, RECORDS, WARNINGS, Entry, Summary
from spacy_tcm.tags import LABELS_ZH

STATUS_COLOURS = {"ok": "green", "rejected": "yellow", "error": "red"}
# What a physician looks for first; other labels follow in order of the text.
FIRST = ("TCM_DISEASE", "SYNDROME", "TONGUE", "PULSE", "SYMPTOM", "FORMULA")
GAP = "  "


def format_summary(
    summary: Summary, out: Path, page: Path | None = None, width: int | None = None
) -> str:
    """A readable account of a run, in a few lines.

    out: the folder of the results. page: the first HTML page, if there is one.
    width: columns of the terminal; None asks the terminal.
    """
    width = width or get_terminal_size((100, 24)).columns
    header = ["record", "photo", "entities", "what was found"]
    rows = [_row(entry) for entry in summary.samples]
    widths = [max(map(display_width, column)) for column in zip(header, *rows, strict=True)]
    widths[0] = min(widths[0], 24)
    widths[3] = max(20, width - sum(widths[:3]) - 3 * len(GAP))
    lines = [_line(header, widths, bold=True), _line(["-" * w for w in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    if summary.records > len(rows):
        lines.append(f"... and {summary.records - len(rows):,} more")
    if summary.first_errors:
        lines += ["", wasabi.color(f"{summary.errors:,} records failed:", fg="red", bold=True)]
        for entry in summary.first_errors:
            code, message = entry["error"]["code"], entry["error"]["message"]
            lines.append(f"  {_printable(entry['source'])}: [{code}] {message}")
            if (more := summary.error_codes[code] - 1) > 0:
                lines.append(f"    ... and {more:,} more with {code}")
    return "\n".join([*lines, "", *_totals(summary), "", *_files(summary, out, page)])


def display_width(text: str) -> int:
    """Terminal columns that a text takes: two for wide characters, none for combining ones."""
    return sum(map(_columns, text))


def shorten(text: str, width: int) -> str:
    """The text, ended with "..." if it takes more than `width` columns (at least 3)."""
    if display_width(text) <= width:
        return text
    used = 3  # not "…", which takes one column or two as the terminal likes
    for end, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[:end] + "..."
    return text


def _columns(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _row(entry: Entry) -> list[str]:
    name = _printable(entry["id"] if entry["id"] is not None else entry["source"])
    if entry["status"] == "error":
        return [name, "error", "", f"{entry['error']['code']} (see below)"]
    found: dict[str, list[str]] = {}
    for entity in entry["entities"]:
        found.setdefault(entity["label"], []).append(_printable(entity["text"]))
    parts = [
        f"{LABELS_ZH.get(label, label)} " + "、".join(list(dict.fromkeys(found[label]))[:2])
        for label in [*FIRST, *(label for label in found if label not in FIRST)]
        if label in found
    ]
    return [name, entry["tongue"]["status"], str(len(entry["entities"])), " | ".join(parts)]


def _printable(text: str) -> str:
    """Without line breaks and control characters, which would break the table or the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)


def _line(cells: Sequence[str], widths: Sequence[int], bold: bool = False) -> str:
    padded = []
    for index, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        cell = shorten(cell, width)
        space = " " * (width - display_width(cell))
        padded.append(space + cell if index == 2 else cell + space)
    # wasabi pads by characters, not by columns, so the cells are padded already.
    colours = [None, STATUS_COLOURS.get(cells[1]), None, None]
    line = wasabi.row(padded, widths=1, spacing=len(GAP), fg_colors=colours).rstrip()
    return wasabi.color(line, bold=True) if bold else line


def _totals(summary: Summary) -> list[str]:
    photos = ", ".join(f"{count:,} {status}" for status, count in summary.photos.items())
    pace = f"{summary.records / summary.seconds:,.1f} records/s" if summary.seconds else ""
    return [
        f"{summary.records:,} records: {summary.ok:,} ok, {summary.errors:,} failed"
        f" ({summary.seconds:,.1f} s, {pace})",
        f"{summary.entities.total():,} entities; photos: {photos or 'none looked at'}",
        *([str(summary.batching)] if summary.batching is not None else []),
    ]


def _files(summary: Summary, out: Path, page: Path | None) -> list[str]:
    lines = [f"Results: {out / RECORDS}"]
    if summary.errors:
        lines.append(f"Errors:  {out / ERRORS}")
    if summary.warnings:
        lines.append(f"Photos not used and other warnings ({summary.warnings:,}): {out / WARNINGS}")
    if page is not None:
        lines.append(f"Page:    {page}")
    return lines
