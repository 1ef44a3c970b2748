"""Where the words and the photo meet: what each adds, and where they disagree."""

from collections.abc import Mapping
from typing import Any

from spacy_tcm.fields.tongue import TongueGrammar, TongueReading

Attributes = Mapping[str, Mapping[str, Any]]  # as of ``doc._.tongue["attributes"]``


def join_photo(
    grammar: TongueGrammar, reading: TongueReading, attributes: Attributes, conflict_below: float
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Put the photo beside the text, which it never overrides.

    attributes: empty without a usable photo.
    conflict_below: a conflict is raised if the photo shows what the text says with less than this
        probability, and something else most probably. It need not be sure what.
    RETURNS: field id -> finding, and the conflicts: see ``TCMFields``.
    """
    fields: dict[str, dict[str, Any]] = {}
    conflicts: list[dict[str, Any]] = []
    for field in grammar.fields:
        said = reading.fields.get(field)
        denied = reading.denied.get(field, set())
        looks = [
            _Look(entry, attributes[name], denied)
            for name, entry in grammar.photo.items()
            if entry["field"] == field and name in attributes
        ]
        if said is None:
            told = [look for look in looks if look.told]
            if told:
                fields[field] = _from_photo(told)
            continue
        values = said["value"]
        more = [look for look in looks if look.told and not look.known(values)]
        found = {**said, "source": "both" if any(x.confirms(values) for x in looks) else "text"}
        if more:
            found["unmentioned"] = [
                {"value": look.told[0], "probability": look.probability} for look in more
            ]
        fields[field] = found
        for look in looks:
            compared = look.known(values)
            compatible = look.compatible(values)
            another = look.differs(values) and not look.unfamiliar
            if another and compared and compatible < conflict_below:
                conflicts.append(
                    {
                        "field": field,
                        "text": compared,
                        "image": look.image,
                        **{key: said[key] for key in ("evidence", "start", "end")},
                        "probability": look.probability,
                        "compatible": compatible,
                    }
                )
    return fields, conflicts


def _from_photo(looks: list["_Look"]) -> dict[str, Any]:
    candidates = [value for look in looks for value in look.told]
    found = {
        "value": [look.told[0] for look in looks],
        "evidence": None,
        "start": None,
        "end": None,
        "source": "image",
        "probability": min(look.probability for look in looks),
    }
    if len(candidates) > len(looks):
        found["candidates"] = candidates
    return found


class _Look:
    """One attribute of the photo, in the field's words."""

    def __init__(self, entry: Mapping[str, Any], attribute: Mapping[str, Any], denied: set[str]):
        self.map: dict[str, list[str]] = entry["values"]
        self.also: dict[str, list[str]] = entry.get("also_fits", {})
        self.probabilities: Mapping[str, float] = attribute["probabilities"]
        self.abstained: bool = attribute["abstained"]
        self.unfamiliar: bool = attribute.get("unfamiliar", False)
        self.shown: str = attribute["value"]
        self.probability = float(self.probabilities[self.shown])
        # What it tells where the text does not: the likeliest first, nothing that the text denies.
        values = [] if self.abstained else self.map.get(self.shown, [])
        self.told = [value for value in values if value not in denied]

    @property
    def image(self) -> str | None:
        """The likeliest value that is shown; None if none is."""
        return next(iter(self.map.get(self.shown, [])), None)

    def fits(self, shown: str, values: list[str]) -> bool:
        return any(v in self.map.get(shown, []) or v in self.also.get(shown, []) for v in values)

    def known(self, values: list[str]) -> list[str]:
        """Those of the values that the attribute can speak of."""
        return [v for v in values if any(self.fits(shown, [v]) for shown in self.probabilities)]

    def confirms(self, values: list[str]) -> bool:
        return not self.abstained and self.fits(self.shown, values)

    def differs(self, values: list[str]) -> bool:
        """Whether what it shows says something, and something else than these values."""
        return (self.shown in self.map or self.shown == "none") and not self.fits(
            self.shown, values
        )

    def compatible(self, values: list[str]) -> float:
        """How probable it is that the photo shows one of these values, or does not tell.

        Of values that come in degrees, as fissures, only "none" speaks against them.
        """
        if all(shown in self.map for shown in self.probabilities):
            return float(sum(p for s, p in self.probabilities.items() if self.fits(s, values)))
        return 1.0 - float(self.probabilities.get("none", 0.0))
