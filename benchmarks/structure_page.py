"""The tables of STRUCTURE.md, which `readme.py` writes there."""

from collections.abc import Callable
from typing import Any

from tables import table

NOT_THERE = {"negspacy": {"past", "future", "possible", "family"}, "edsnlp": {"future"}}


PARTS = {"train": "train (rules written on it)", "tune": "tune (the same)", "dev": "held out"}


def context(data: dict[str, Any]) -> str:
    rows = []
    for part, found in data["parts"].items():
        for tool, scores in found["scores"].items():
            cells = [PARTS[part], tool]
            for name, s in scores.items():
                if name in NOT_THERE.get(tool, set()) or s["f"] is None:
                    cells.append("–")
                    continue
                p, r = (
                    "–" if s[k] is None else f"{100 * s[k]:.1f}" for k in ("precision", "recall")
                )
                cells.append(f"{p} / {r} / **{100 * s['f']:.1f}** ({s['gold']})")
            rows.append(cells)
    names = next(iter(next(iter(data["parts"].values()))["scores"].values()))
    counts = ", ".join(f"{part} {found['records']}" for part, found in data["parts"].items())
    note = (
        f"Precision / recall / **F1** in per cent (gold entities with the mark). Records: {counts}."
    )
    return f"{table(['records', '', *names], rows)}\n\n{note}"


WAYS = ("gold entities", "predicted entities")


def fields(data: dict[str, Any]) -> str:
    """By field: F1 of value and unit, the rows of the published table first."""
    parts = [(part, way) for part in data["rows"] for way in WAYS if way in data["rows"][part]]
    published = data["published"]
    names = [name for name in next(iter(data["rows"]["dev"].values())) if name != "mean"]
    names = [*published, *(n for n in names if n not in published and n != "all"), "all"]
    rows = []
    for name in names:
        cells = []
        for part, way in parts:
            row = data["rows"][part][way][name]
            cells.append("–" if row["f"] is None else f"{100 * row['f']:.1f} ({row['gold']})")
        figure = published.get(name)
        rows.append([name, "–" if figure is None else f"{figure:.1f}", *cells])
    mean = [f"{100 * data['rows'][part][way]['mean']['f']:.1f}" for part, way in parts]
    rows.append(["mean over the fields", "–", *mean])
    header = ["", "published", *(f"{part}: {way}" for part, way in parts)]
    counts = ", ".join(f"{part} {count}" for part, count in data["records"].items())
    note = (
        f"F1 in per cent, of value and unit together; in brackets how many records tell the field. "
        f"Records: {counts}."
    )
    return f"{table(header, rows)}\n\n{note}"


def fields_detail(data: dict[str, Any]) -> str:
    """Precision, recall, accuracy and evidence on dev with predicted entities."""
    found = data["rows"]["dev"]
    scores = found.get(WAYS[1], found[WAYS[0]])
    names = [*data["published"], *(n for n in scores if n not in data["published"])]
    keys = ("precision", "recall", "f", "accuracy", "evidence_overlap")
    rows = [
        [name, str(scores[name]["gold"]), str(scores[name]["found"])]
        + ["–" if scores[name][k] is None else f"{100 * scores[name][k]:.1f}" for k in keys]
        for name in names
        if name != "mean"
    ]
    return table(["dev", "gold", "found", "P", "R", "F1", "accuracy", "evidence overlaps"], rows)


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def prescriptions(data: dict[str, Any]) -> str:
    rows = [
        [
            *(part, source, str(s["prescriptions"]), str(s["herbs"]["gold"])),
            *(percent(s["herbs"][n]) for n in ("precision", "recall", "f")),
            percent(s["dose_of_found_herbs"]),
            *(percent(s["removed"]["f"]), percent(s["count"]), percent(s["formula"])),
            percent(s["whole"]),
        ]
        for part, sources in data["rows"].items()
        for source, s in sources.items()
    ]
    header = ["", "read from", "prescriptions", "herbs", "herb with dose: P", "R", "F1"]
    more = ["dose of found herbs", "removed F1", "count", "formula", "whole list"]
    return table([*header, *more], rows)


def linker(data: dict[str, Any]) -> str:
    methods = ("exact", "alias", "normalised", "fuzzy", "unlinked", "ambiguous or several")
    rows = [
        [
            label,
            str(row["entities"]),
            *(percent(row.get(method, 0) / row["entities"]) for method in methods),
        ]
        for label, row in sorted(data["labels"].items(), key=lambda r: -r[1]["entities"])
    ]
    return table(["label", "entities", *methods], rows)


def linker_judged(data: dict[str, Any]) -> str:
    rows = [
        [
            name,
            *(str(row.get(n, 0)) for n in ("links", "right", "broader", "wrong")),
            percent(row["precision"]),
        ]
        for name, row in data["judged"].items()
    ]
    return table(["links by", "judged", "right", "broader", "wrong", "right, %"], rows)


def deid(data: dict[str, Any]) -> str:
    names = ("precision", "recall", "hidden", "of_an_identifier")
    rows = [
        [kind, str(s["gold"]), *(percent(s[n]) for n in names)]
        for kind, s in data["scores"].items()
        if s["gold"]
    ]
    header = [
        "kind",
        "put in",
        "precision",
        "recall",
        "all characters replaced",
        "of some identifier",
    ]
    plain, copies = data["untouched"], data["copies"]
    own = ", ".join(f"{n} {kind}" for kind, n in plain["found"].items()) or "nothing"
    alarms = plain["false_alarms_per_1000_characters"]
    note = (
        f"{data['injected']} identifiers in {data['records']} records, seed {data['seed']}. "
        f"In the records as they are ({plain['characters']:,} characters): {own}; "
        f"others than dates, which are there, {alarms:.2f} per 1,000 characters. "
        f"Masked copies ({copies['texts']}, by all actions): "
        f"{copies['restored']} are brought back by the map, "
        f"{copies['entities_back']} of {copies['entities']} entities map there and back; "
        f"of {copies['distinct_values']} distinct values {copies['with_one_surrogate']} "
        f"have one surrogate, and {copies['names_differ_by_patient']} of {copies['names']} names "
        "another one for another patient."
    )
    return f"{table(header, rows)}\n\n{note}"


def relations(data: dict[str, Any]) -> str:
    dev, train = data["dev"], data["train"]
    rows = [
        [
            kind,
            str(s["gold"]),
            *(percent(s[n]) for n in ("precision", "recall", "f")),
            percent(train["scores"].get(kind, {}).get("f")),
        ]
        for kind, s in dev["scores"].items()
    ]
    header = ["relation", "gold", "precision", "recall", "**F1**", "F1 on train"]
    note = f"{dev['records']} records held out, {train['records']} of train."
    return f"{table(header, rows)}\n\n{note}"


def syndrome(data: dict[str, Any]) -> str:
    names = ("top1", "top3", "top5", "same_top1", "same_top3", "same_top5", "elements_f")
    rows = [
        [part, way, name, *(f"{100 * s[n]['mean']:.1f} ± {100 * s[n]['sd']:.1f}" for n in names)]
        for part, ways in data["rows"].items()
        for way, found in ways.items()
        for name, s in found.items()
    ]
    shown = ["top 1", "top 3", "top 5", *(f"same elements: top {k}" for k in (1, 3, 5))]
    lines = table(["records", "", "", *shown, "F1 of elements"], rows)
    keys = ("calibration_error_raw", "calibration_error", "coverage", "told_top1", "told_top5")
    told = (*keys, "silent_top1", "silent_top5")
    more = [
        [part, way, *(percent(found["tcm_syndrome"][key]) for key in told)]
        for part, ways in data["rows"].items()
        for way, found in ways.items()
    ]
    header = ["records", "", "calibration error, raw", "calibrated", "told", "top 1 of those told"]
    abstained = table([*header, "top 5", "top 1 of the rest", "top 5 of the rest"], more)
    note = (
        f"{data['patterns_seen']} patterns in {data['records']['train']} records of train, "
        f"{data['candidates']} candidates; of {data['records']['dev']} records of dev "
        f"{percent(data['reachable']['dev'])} % have a pattern that is a candidate by name."
    )
    return f"{lines}\n\n{abstained}\n\n{note}"


def rules(data: dict[str, Any]) -> str:
    rows = [
        [name, f"{row['found']:,}", f"{row['rules']:,}"]
        + [f"{row[k]:.1f} %" for k in ("raw", "structured")]
        + [f"{row['points']:+.1f}", f"{row['relative']:+.1f} %"]
        for name, row in data["rules"].items()
        if row["rules"]
    ]
    header = ["rules", "found", "compared", "raw keywords", "structured", "points", "relative"]
    note = (
        f"{data['records']:,} records; support from {100 * data['min_support']:g} %, confidence "
        f"from {100 * data['min_confidence']:g} %. Mean confidence of the same rules; those "
        "of fields, which no keyword tells, are not compared."
    )
    return table(header, rows) + "\n\n" + note


def rules_examples(data: dict[str, Any]) -> str:
    rows = [
        [
            *(r["rule"], f"{r['n_both']} of {r['n_antecedent']}", f"{r['lift']:.1f}"),
            *(f"{r['leverage']:.4f}", f"{r['p']:.1e}", f"{r['q']:.1e}"),
        ]
        for r in data["examples"]
    ]
    return table(["rule", "visits", "lift", "leverage", "p", "q"], rows)


BLOCKS: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "rules": ("rules.json", rules),
    "rules-examples": ("rules.json", rules_examples),
    "context": ("context.json", context),
    "fields": ("fields.json", fields),
    "fields-detail": ("fields.json", fields_detail),
    "prescriptions": ("prescriptions.json", prescriptions),
    "linker": ("linker.json", linker),
    "linker-judged": ("linker.json", linker_judged),
    "deid": ("deid.json", deid),
    "relations": ("relations.json", relations),
    "syndrome": ("syndrome.json", syndrome),
}
