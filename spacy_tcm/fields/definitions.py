"""What the fields of a record are: our definitions, and the user's on top of them."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import srsly

from spacy_tcm.errors import Errors, ModelError

DEFAULT_FIELDS = Path(__file__).parents[1] / "resources" / "fields.json"

TYPES = ("enum", "multi", "list", "bool", "ternary", "int", "decimal", "range", "duration")
# Read by a grammar of its own, which has its own resource.
GRAMMARS = ("tongue", "pulse", "course")
CHOICES = ("last", "first", "max", "min")
TERNARY = ("有", "无", "未提及")
_LISTS: tuple[str, ...] = (
    "values",
    "targets",
    "not_targets",
    "near",
    "not_near",
    "labels",
    "sections",
    "units",
)
_LISTS += ("departments", "patterns", "ignored", "not_sections", "also")
_KNOWN = {
    *("id", "type", "T2", "unit", "unit_factors", "lo", "hi", "wordings", "grammar", "choose"),
    *("unit_alone", "reach", "at_least", "bins", *_LISTS),
}


def read_file(path: str | Path | None = None) -> dict[str, Any]:
    """A file of definitions, JSON or YAML; None stands for the package's own. RAISES ModelError."""
    path = DEFAULT_FIELDS if path is None else Path(path)
    try:
        read = srsly.read_yaml if path.suffix in (".yaml", ".yml") else srsly.read_json
        data = read(path)
        if not isinstance(data, dict) or not isinstance(data.get("fields"), list):
            raise ValueError("it must be an object with a list 'fields'")
        return data
    except (OSError, ValueError, TypeError) as error:
        cause = f"{type(error).__name__}: {getattr(error, 'strerror', None) or error}"
        raise ModelError(Errors.E610.format(path=path, cause=cause)) from error
    except Exception as error:  # the YAML parser's own classes
        raise ModelError(Errors.E610.format(path=path, cause=type(error).__name__)) from error


@cache
def _own() -> str:
    return json.dumps(read_file(), ensure_ascii=False)


def own_definitions() -> dict[str, Any]:
    """The package's own, a copy."""
    return json.loads(_own())


def merge(base: Mapping[str, Any], more: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Fields of `more` are added to those of `base`; a field of the same id replaces ours key by
    key, so that it need say only what differs. Lists under `cues` replace ours, list by list.

    RAISES ModelError: a definition cannot be used; source names the file in the message.
    """
    fields = {field["id"]: dict(field) for field in base["fields"]}
    for field in more["fields"]:
        if not isinstance(field, Mapping) or not isinstance(field.get("id"), str):
            raise ModelError(Errors.E610.format(path=source, cause="a field has no 'id'"))
        fields[field["id"]] = {**fields.get(field["id"], {}), **json.loads(json.dumps(field))}
    merged = {**base, "fields": list(fields.values())}
    merged["cues"] = {**base.get("cues", {}), **more.get("cues", {})}
    for field in merged["fields"]:
        check(field, source)
    for name, words in merged["cues"].items():
        if not _is_texts(words):
            cause = f"cues: {name!r} must be a list of texts"
            raise ModelError(Errors.E610.format(path=source, cause=cause))
        for word in words:
            _check_pattern(word, source, name)
    return merged


def check(field: Mapping[str, Any], source: str) -> None:
    """RAISES ModelError: the definition of a field cannot be used."""
    cause = _find_problem(field)
    if cause is not None:
        raise ModelError(Errors.E611.format(path=source, field=field["id"], cause=cause))
    for pattern in field.get("patterns", []):
        _check_pattern(pattern, source, field["id"])


def _find_problem(field: Mapping[str, Any]) -> str | None:
    kind = field.get("type")
    if kind not in TYPES:
        return f"its type must be one of {', '.join(TYPES)}"
    if unknown := field.keys() - _KNOWN:
        return f"unknown keys {', '.join(sorted(unknown))}"
    for key in _LISTS:
        if key in field and not _is_texts(field[key]):
            return f"'{key}' must be a list of texts that are not empty"
    if kind in ("enum", "multi", "list"):
        if not field.get("values"):
            return "'values' is missing"
        wordings = field.get("wordings", {})
        if not isinstance(wordings, Mapping) or not all(map(_is_texts, wordings.values())):
            return "'wordings' must map each value to a list of texts"
        if strange := wordings.keys() - set(field["values"]):
            return f"'wordings' has {', '.join(sorted(strange))}, which is not among 'values'"
    if field.get("grammar", GRAMMARS[0]) not in GRAMMARS:
        return f"'grammar' must be one of {', '.join(GRAMMARS)}"
    if field.get("choose", CHOICES[0]) not in CHOICES:
        return f"'choose' must be one of {', '.join(CHOICES)}"
    if kind == "list" and "grammar" not in field:
        return "a list needs a grammar; 'multi' has none"
    if "grammar" not in field and not (field.get("targets") or field.get("patterns")):
        return "it needs 'targets' (or 'patterns'): the words it is looked for by"
    for key in ("lo", "hi"):
        if key in field and (type(field[key]) not in (int, float)):
            return f"'{key}' must be a number"
    if "lo" in field and "hi" in field and field["lo"] > field["hi"]:
        return "'lo' is above 'hi'"
    factors = field.get("unit_factors", {})
    if not isinstance(factors, Mapping) or any(
        type(x) not in (int, float) for x in factors.values()
    ):
        return "'unit_factors' must map a unit to a number"
    if type(field.get("reach", 1)) is not int or field.get("reach", 1) < 1:
        return "'reach' must be a whole number of characters, 1 or more"
    for entry in field.get("bins", []):
        if not isinstance(entry, Mapping) or not {"name", "lo", "hi"} <= entry.keys():
            return "each of 'bins' needs name, lo and hi"
    return None


def _check_pattern(pattern: str, source: str, name: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        cause = f"{pattern!r} is no regular expression ({error})"
        raise ModelError(Errors.E611.format(path=source, field=name, cause=cause)) from error


def _is_texts(found: Any) -> bool:
    return isinstance(found, list | tuple) and all(isinstance(x, str) and x for x in found)


def schema(fields: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What of the definitions says how values look, as in ``assets/fields.json``."""
    keys = ("id", "type", "unit", "values", "lo", "hi", "T2")
    return [{key: field[key] for key in keys if key in field} for field in fields]
