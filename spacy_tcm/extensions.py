"""The custom attributes of ``Doc`` and ``Span``. Safe to call more than once."""

from bisect import bisect_right
from functools import partial
from typing import Any

from spacy.tokens import Doc, Span

from spacy_tcm import __version__

_PREFIX = "spacy_tcm."

# Kept in ``doc.user_data``; what an attribute is as long as no component has set it.
_NOTHING_FOUND: dict[str, type] = {
    "fields": dict,
    "conflicts": list,
    "sections": list,
    "prescriptions": list,
    "drugs": list,
    "relations": list,
    "provenance": dict,
}


def _get(name: str, doc: Doc) -> Any:
    found = doc.user_data.get(_PREFIX + name)
    return _NOTHING_FOUND[name]() if found is None else found


def _set(name: str, doc: Doc, value: Any) -> None:
    doc.user_data[_PREFIX + name] = value


def _get_tongue(doc: Doc) -> dict[str, Any]:
    """What is known of the photo: see ``tongue_encoder``. Never None."""
    found = doc.user_data.get(_PREFIX + "tongue")
    if found is not None:
        return found
    status = "none" if doc._.tongue_image is None else "not_run"
    return {"status": status, "reasons": [], "quality": {}, "attributes": {}}


def section_at(sections: list[dict[str, Any]], char: int) -> str | None:
    """The id of the section that holds a character, or None."""
    at = bisect_right([s["start"] for s in sections], char) - 1
    return sections[at]["id"] if at >= 0 and char < sections[at]["end"] else None


def _get_section(span: Span) -> str | None:
    return section_at(span.doc._.sections, span.start_char)


def _get_record(doc: Doc) -> dict[str, Any]:
    from spacy_tcm.record import make_record

    return make_record(doc)


def note_provenance(doc: Doc, part: str, component: str) -> None:
    """Remember which component has written a part of the record, such as "fields"."""
    known = doc._.provenance
    doc._.provenance = {**known, part: {"component": component, "version": __version__}}


def install_extensions() -> None:
    """Register the attributes.

    ``doc._.tongue_image``: the photo (path, encoded bytes or uint8 H x W x 3 RGB array) or None.
    ``doc._.tongue``: dict with ``status``, ``reasons``, ``quality``, ``attributes``.
    ``doc._.sections``: list of dicts in text order, see ``tcm_sections``.
    ``doc._.fields``: field id -> dict with ``value``, ``evidence``, ``start``, ``end``, ``source``
        and more: see ``TCMFields``; empty where the component ``tcm_fields`` did not run.
    ``doc._.conflicts``: list of dicts, where photo and text disagree: see there; may be empty.
    ``doc._.prescriptions``, ``doc._.drugs``: lists of dicts, see ``TCMPrescriptions``.
    ``doc._.relations``: list of dicts, see ``TCMRelations``.
    ``doc._.record``: all of it as one dict, see `spacy_tcm.record.make_record`.
    ``doc._.provenance``: part of the record -> ``{"component", "version"}`` that wrote it.
    ``doc._.tongue_data``: float32 array (regions, width) for listeners, or None.
    ``doc._.tongue_heat``: where in the photo attributes were seen, see ``tongue_encoder``, or None.
    ``doc._.lexicon_matches``: list of [start, end, category] (characters), or None if the Doc was
        not made by the ``LexiconTokenizer``.
    ``doc._.record_id``: the id of the record, or None.
    ``doc._.syndrome``: what ``tcm_syndrome`` tells, or None.
    ``doc._.patient_id``: whose record it is, or None; surrogates of ``tcm_deid`` go by it.
    ``doc._.deid``: what ``tcm_deid`` found or did, see there: no value of it; or None.
    ``doc._.annotated_labels``: on references, the labels the corpus annotates; None means all.
    ``doc._.syndrome``: dict or None, see ``TCMSyndrome``; ``doc._.syndrome_labels``: on references,
        the names of the patterns.
    ``doc._.tongue_labels``: on references, photo attribute -> value known to be true.
    ``span._.score``: probability of the entity, 0 to 1, or None.
    ``span._.photo_gate``: how far the photo was let in at its tokens, from 0 (there is none) to 1,
        or None.
    ``span._.section``: id of the section it begins in, or None.
    ``span._.negation`` (present, absent, possible), ``certainty`` (certain, possible),
        ``temporality`` (current, past, future), ``experiencer`` (patient, family): see
        ``tcm_context``; None where it did not run.
    """
    for name in (
        "tongue_image",
        "tongue_data",
        "tongue_heat",
        "lexicon_matches",
        "record_id",
        "patient_id",
        "deid",
        "syndrome",
        "annotated_labels",
        "tongue_labels",
        "syndrome_labels",
    ):
        if not Doc.has_extension(name):
            Doc.set_extension(name, default=None)
    if not Doc.has_extension("tongue"):
        Doc.set_extension("tongue", getter=_get_tongue, setter=partial(_set, "tongue"))
    if not Doc.has_extension("record"):
        Doc.set_extension("record", getter=_get_record)
    for name in _NOTHING_FOUND:
        if not Doc.has_extension(name):
            Doc.set_extension(name, getter=partial(_get, name), setter=partial(_set, name))
    for name in (
        "score",
        "photo_gate",
        "negation",
        "certainty",
        "temporality",
        "experiencer",
    ):
        if not Span.has_extension(name):
            Span.set_extension(name, default=None)
    if not Span.has_extension("codes"):
        Span.set_extension("codes", default=[])
    if not Span.has_extension("section"):
        Span.set_extension("section", getter=_get_section)
