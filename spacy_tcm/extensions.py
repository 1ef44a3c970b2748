"""The custom attributes of ``Doc`` and ``Span``. Safe to call more than once."""

from typing import Any

from spacy.tokens import Doc, Span

_TONGUE = "spacy_tcm.tongue"
_FIELDS = "spacy_tcm.fields"
_CONFLICTS = "spacy_tcm.conflicts"


def _get_tongue(doc: Doc) -> dict[str, Any]:
    """What is known of the photo: see ``tongue_encoder``. Never None."""
    found = doc.user_data.get(_TONGUE)
    if found is not None:
        return found
    status = "none" if doc._.tongue_image is None else "not_run"
    return {"status": status, "reasons": [], "quality": {}, "attributes": {}}


def _set_tongue(doc: Doc, value: dict[str, Any]) -> None:
    doc.user_data[_TONGUE] = value


def _get_fields(doc: Doc) -> dict[str, dict[str, Any]]:
    return doc.user_data.get(_FIELDS, {})


def _set_fields(doc: Doc, value: dict[str, dict[str, Any]]) -> None:
    doc.user_data[_FIELDS] = value


def _get_conflicts(doc: Doc) -> list[dict[str, Any]]:
    return doc.user_data.get(_CONFLICTS, [])


def _set_conflicts(doc: Doc, value: list[dict[str, Any]]) -> None:
    doc.user_data[_CONFLICTS] = value


def install_extensions() -> None:
    """Register the attributes.

    ``doc._.tongue_image``: the photo (path, encoded bytes or uint8 H x W x 3 RGB array) or None.
    ``doc._.tongue``: dict with ``status``, ``reasons``, ``quality``, ``attributes``.
    ``doc._.fields``: field id -> dict with ``value``, ``evidence``, ``start``, ``end``, ``source``
        and more: see ``TCMFields``; empty where the component ``tcm_fields`` did not run.
    ``doc._.conflicts``: list of dicts, where photo and text disagree: see there; may be empty.
    ``doc._.tongue_data``: float32 array (regions, width) for listeners, or None.
    ``doc._.tongue_heat``: where in the photo attributes were seen, see ``tongue_encoder``, or None.
    ``doc._.lexicon_matches``: list of [start, end, category] (characters), or None if the Doc was
        not made by the ``LexiconTokenizer``.
    ``doc._.record_id``: the id of the record, or None.
    ``doc._.annotated_labels``: on references, the labels the corpus annotates; None means all.
    ``doc._.tongue_labels``: on references, photo attribute -> value known to be true.
    ``span._.score``: probability of the entity, 0 to 1, or None.
    ``span._.photo_gate``: how far the photo was let in at its tokens, from 0 (there is none) to 1,
        or None.
    """
    for name in (
        "tongue_image",
        "tongue_data",
        "tongue_heat",
        "lexicon_matches",
        "record_id",
        "annotated_labels",
        "tongue_labels",
    ):
        if not Doc.has_extension(name):
            Doc.set_extension(name, default=None)
    if not Doc.has_extension("tongue"):
        Doc.set_extension("tongue", getter=_get_tongue, setter=_set_tongue)
    if not Doc.has_extension("fields"):
        Doc.set_extension("fields", getter=_get_fields, setter=_set_fields)
    if not Doc.has_extension("conflicts"):
        Doc.set_extension("conflicts", getter=_get_conflicts, setter=_set_conflicts)
    for name in ("score", "photo_gate"):
        if not Span.has_extension(name):
            Span.set_extension(name, default=None)
