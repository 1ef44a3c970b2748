"""The tables of COMPRESSION.md, which `readme.py` writes there."""

from collections.abc import Callable
from typing import Any

from tables import pm, table

MIB = 2**20


def megabytes(count: float | None) -> str:
    return "–" if count is None else f"{count / MIB:.0f} MB"


def percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def speed(data: dict[str, Any]) -> str:
    rows = [
        [
            name,
            threads,
            f"{r['records_per_second']:.2f}",
            f"{1000 / r['records_per_second']:.1f}",
            f"{r['characters_per_second']:,.0f}",
            f"**{r['times_as_fast']:.1f} ×**",
        ]
        for threads, found in data["throughput"].items()
        for name, r in found.items()
    ]
    header = ["", "threads", "records / s", "ms / record", "characters / s", "of BERT-Large's"]
    many, few = data["data"]["many"], data["data"]["few"]
    statuses: dict[str, int] = {}
    for found in data["throughput"].values():
        for row in found.values():
            statuses |= row["photos"] or {}
    usable = f", {statuses['ok']} photos usable" if "ok" in statuses else ""
    mean, mean_few = (part["characters"] / part["records"] for part in (many, few))
    note = (
        f"{many['records']} records of {mean:.0f} characters in the mean, the longest "
        f"{many['longest']:,}{usable}; BERT-Large's shape by {few['records']} of them, "
        f"{mean_few:.0f} in the mean, text alone. Medians of {data['rounds']} rounds in turn; "
        "ratios are of characters a second in the same round."
    )
    return f"{table(header, rows)}\n\n{note}"


def roofline(data: dict[str, Any]) -> str:
    found = data["roofline"]
    peaks = list(found["peaks"])
    rows = [
        [
            part,
            f"{r['operations']['alone'] / 1e9:.2f}",
            f"{r['operations']['together'] / 1e9:.2f}",
            f"{r['operations_per_second'] / 1e9:.0f}",
            *(percent(r["share_of_peak"][name]) for name in peaks),
        ]
        for part, r in found["parts"].items()
    ]
    rows.append(
        ["large matrix products alone", "", "", ""]
        + [f"{found['peaks'][name] / 1e9:.0f} GOP/s" for name in peaks]
    )
    header = ["", "GOP / record", "with the padding of batches", "GOP/s", *peaks]
    shares = "; ".join(
        f"{part}: "
        + ", ".join(f"{name} {n / 1e9:.2f}" for name, n in sorted(r["by_component"].items()))
        for part, r in found["parts"].items()
    )
    return f"{table(header, rows)}\n\nGOP / record by component: {shares}."


def memory(data: dict[str, Any]) -> str:
    rows = [
        [
            name,
            str(r["records"]),
            megabytes(r["peak_bytes"]),
            percent(r["share"]),
            "yes" if r["torch"] else "no",
        ]
        for name, r in data["memory"].items()
    ]
    header = ["", "records", "peak of the process", "of BERT-Large's", "torch imported"]
    return table(header, rows)


def start(data: dict[str, Any]) -> str:
    found = data["cold_start"]
    steps = list(next(iter(found.values()))["steps"])
    rows = [
        [name, f"**{r['seconds']:.2f}**", *(f"{r['steps'][step]:.2f}" for step in steps)]
        for name, r in found.items()
    ]
    return table(["seconds", "to the first record's entities", *steps], rows)


def size(data: dict[str, Any]) -> str:
    names = {
        "environment_bytes": "site-packages",
        "environment_alone_bytes": "without pip, setuptools and `__pycache__`",
        "model_bytes": "the pipeline, installed",
        "wheel_bytes": "its wheel",
    }
    rows = [[title, megabytes(data["size"][name])] for name, title in names.items()]
    return table(["on disk", ""], rows)


def latency(data: dict[str, Any]) -> str:
    rows = [[name, f"{r['p50']:.1f}", f"{r['p95']:.1f}"] for name, r in data["latency"].items()]
    return table(["ms of one record alone", "p50", "p95"], rows)


def processes(data: dict[str, Any]) -> str:
    found = data["processes"]
    titles = {"pipe": "`nlp.pipe`", "structure": "`structure`, its start included"}
    rows = [
        [title, *(f"{found[name][count]:.1f}" for count in ("1", "2"))]
        for name, title in titles.items()
    ]
    header = [f"records / s, {found['records']} records", "one process", "two"]
    return table(header, rows)


def equality(data: dict[str, Any]) -> str:
    found = data["equality"]
    rows = [
        ["equal tags", f"{found['tags']['count']:,}", percent(found["tags"]["equal"], 3)],
        [
            "entities found by both",
            f"{found['entities']['either']:,}",
            percent(found["entities"]["equal"], 2),
        ],
        [
            "equal attributes of photos",
            f"{found['photos']['attributes']:,}",
            percent(found["photos"]["equal"], 2),
        ],
    ]
    largest = found["entities"]["largest_score_difference"]
    return (
        f"{table(['', 'of', ''], rows)}\n\n{found['records']} records. Largest difference between "
        f"the scores of an entity that both found: {largest:.3g}."
    )


def scores(data: dict[str, Any]) -> str:
    found = data["equality"]
    rows = []
    for part, by_pipeline in found["scores"].items():
        rows.append(_compared(part, "F1", [r["f"] for r in by_pipeline.values()]))
        rows.append(_compared(part, "macro F1", [r["macro_f"] for r in by_pipeline.values()]))
    for name, by_pipeline in found["attributes"].items():
        for measure, title in (("accuracy", "accuracy"), ("macro_f", "macro F1")):
            rows.append(_compared(name, title, [r[measure] for r in by_pipeline.values()]))
    return table(["", "", "as trained", "deployed", "lost"], rows)


def _compared(part: str, title: str, values: list[float]) -> list[str]:
    trained, deployed = (100 * value for value in values)
    return [part, title, f"{trained:.1f}", f"{deployed:.1f}", f"{trained - deployed:.1f}"]


def compression(data: dict[str, Any], net: str) -> str:
    """A table for each measure: methods down, shares of the bytes across."""
    found = data["summary"].get(net, {})
    measures = {
        "f": "Entity F1",
        "accuracy": "Mean accuracy of the attributes",
        "macro_f": "Macro F1",
        "error": "Error of the vectors, a share of their variance",
    }
    parts = []
    for name, title in measures.items():
        cells = {
            method: {share: r[name] for share, r in by_share.items() if name in r}
            for method, by_share in found.items()
        }
        shares = sorted({share for row in cells.values() for share in row if share != "0"})
        if not shares:
            continue
        whole = cells.pop("none", {}).get("0")
        rows = [
            [method, *(pm(row[share]) if share in row else "–" for share in shares)]
            for method, row in cells.items()
        ]
        header = ["", *(f"{float(share):.0%} cut".replace("%", " %") for share in shares)]
        beside = "" if whole is None else f"; the whole net: {pm(whole)}"
        parts.append(f"{title}, per cent{beside}\n\n{table(header, rows)}")
    settings = data.get("settings", {})
    if parts and settings:
        parts.append(
            f"Bytes of {settings['bytes']}; {settings['steps']} steps of tuning after each; "
            f"{settings['rounds']} rounds of search."
        )
    return "\n\n".join(parts)


def text_compression(data: dict[str, Any]) -> str:
    return compression(data, "text")


def tongue_compression(data: dict[str, Any]) -> str:
    return compression(data, "tongue")


def long_tuning(data: dict[str, Any]) -> str:
    """Of a run with more steps of tuning, a row for each net and method."""
    rows = []
    for net, measure in (("text", "f"), ("tongue", "accuracy")):
        for method, by_share in data["summary"].get(net, {}).items():
            for share, found in by_share.items():
                cut = "whole" if method == "none" else f"{float(share):.0%}".replace("%", " % cut")
                scores = [pm(found[key]) if key in found else "–" for key in (measure, "macro_f")]
                rows.append([net, method, cut, str(found["seeds"]), *scores, pm(found["error"])])
    header = ["net", "", "", "seeds", "F1 (text), accuracy (tongue)", "macro F1", "error"]
    return f"{table(header, rows)}\n\n{data['settings']['steps']} steps of tuning."


def byte_model(data: dict[str, Any]) -> str:
    rows = [
        [
            name,
            str(sum(point["part"] == "fitted" for point in r["points"])),
            f"{r['r2_fitted']:.4f}",
            str(sum(point["part"] == "held_out" for point in r["points"])),
            f"{r['r2_held_out']:.4f}",
        ]
        for name, r in data["fits"].items()
    ]
    lines = table(["", "nets fitted", "R²", "nets held out", "R²"], rows)
    return (
        f"{lines}\n\nMeasured at most the budget: {data['within_budget']} of "
        f"{len(data['budgets'])} random budgets and nets."
    )


def dbp(data: dict[str, Any]) -> str:
    """What dynamic batch pruning saves; peaks are of whole processes."""
    rows, notes = [], []
    for name, found in data.items():
        whole = found["rows"]["without"].get("peak_bytes")
        n = found["records"]
        for title, row in found["rows"].items():
            if not row["completed"]:
                rows.append([name, title, *"–––", f"0 of {n}", "–", "–"])
                continue
            peak, batching = row["peak_bytes"], row["batching"]
            bare = whole is None or title == "without"
            rows.append(
                [
                    name,
                    title,
                    megabytes(batching and batching["budget_bytes"]),
                    megabytes(peak),
                    percent(None if bare else 1 - peak / whole),
                    f"{row['completed']} of {n}",
                    str(row["records_with_equal_entities"]),
                    f"{row['largest_difference_of_scores']:.1g}",
                ]
            )
        trials = found["trials"]
        notes.append(
            f"{name}: {n} records, {found['characters']:,} characters, {found['long_records']} "
            f"records of more than 5,000. Random budgets and mixes: "
            f"measured at most the budget {sum(t['within'] for t in trials)} of {len(trials)}, all "
            f"records done {sum(t['completed'] for t in trials)} of {len(trials)}."
        )
    header = ["", "", "budget", "peak", "saved", "completed", "equal entities", "scores differ by"]
    return "\n\n".join([table(header, rows), *notes])


_DEPLOYED: dict[str, Callable[[dict[str, Any]], str]] = {
    "throughput": speed,
    "roofline": roofline,
    "memory": memory,
    "cold_start": start,
    "size": size,
    "latency": latency,
    "processes": processes,
    "equality": equality,
}


def _if_there(section: str, make: Callable[[dict[str, Any]], str]) -> Callable:
    """A run with --only may have left a section out."""
    return lambda data: make(data) if section in data else ""


def release_choices(data: dict[str, Any]) -> str:
    (found,) = data["budgets"].values()
    weights = found["weights"]
    peak, ranked = found["peak"], sorted(found["candidates"].items(), key=lambda c: c[1]["loss"])
    rows = [
        [name, f"{one['loss']:.4f}", f"{one['peak'] / 1e6:.2f} MB"]
        for name, one in ranked
        if name != "none"
    ]
    kept = ", ".join(f"{unit['kept']} of {unit['width']}" for unit in found["units"])
    (dynamic,) = found["dynamic"].values()
    note = (
        f"Peak {peak['before'] / 1e6:.2f} MB whole, {peak['measured'] / 1e6:.2f} MB as pruned, of "
        f"a budget of {found['budget'] / 1e6:.2f} MB; weights {weights['before'] / 1e6:.2f} and "
        f"{weights['after'] / 1e6:.2f} MB. Kept, heads and inner width by layer: {kept}. One seed, "
        f"{data['settings']['steps']} steps. The policy deciding anew for each text (dynamic) has "
        f"a loss of {dynamic['loss']:.4f} with {percent(dynamic['computation'])} of the "
        "multiplications, and all of the stored bytes."
    )
    return f"{table(['choice', 'loss before fine-tuning', 'peak'], rows)}\n\n{note}"


def release_stages(data: dict[str, Any]) -> str:
    rows = [
        [
            stage,
            percent(found["f"]),
            percent(found["macro_f"]),
            percent(data["attributes"].get(stage)),
        ]
        for stage, found in data["scores"].items()
    ]
    return table(["", "F1, written tune", "macro F1", "attributes as before"], rows)


def release_int8(data: dict[str, Any]) -> str:
    rows = [
        [
            one["graph"],
            f"{one['size_before'] / 1e6:.2f} MB",
            f"{one['size_after'] / 1e6:.2f} MB",
            str(len(one["quantised"])),
            str(len(one["kept"])),
            f"{one['ms_before'] / one['ms_after']:.1f} ×",
        ]
        for one in data["int8"]
    ]
    return table(["graph", "32 bits", "INT8", "layers in INT8", "in 32 bits", "faster"], rows)


def heat_maps(data: dict[str, Any]) -> str:
    rows = [
        [attribute, name]
        + [f"{r[m]:.2f}" for m in ("correlation", "overlap", "on_tongue", "fall")]
        + [percent(r["same_value"], 0)]
        for attribute, found in data["attributes"].items()
        for name, r in found.items()
    ]
    header = ["attribute", "net", "correlation", "hottest fifth shared", "heat on the tongue"]
    header += ["fall of the score", "tells the same value"]
    settings = data["settings"]
    return (
        f"{table(header, rows)}\n\n{data['photos']} photos; pruned by {settings['method']}, "
        f"{settings['steps']} steps of tuning on {data['learned_from']} photos."
    )


BLOCKS = {
    "release-choices": ("release.json", release_choices),
    "release-stages": ("release.json", release_stages),
    "release-int8": ("release.json", release_int8),
    **{
        f"{file}-{section.replace('_', '-')}": (f"{file}.json", _if_there(section, make))
        for file in ("deployed", "released")
        for section, make in _DEPLOYED.items()
    },
    **{
        f"{file}-scores": (f"{file}.json", _if_there("equality", scores))
        for file in ("deployed", "released")
    },
    "long-tuning": ("compression_long.json", long_tuning),
    "compression-text": ("compression.json", text_compression),
    "compression-tongue": ("compression.json", tongue_compression),
    "heat-maps-pruned": ("heat_maps_pruned.json", heat_maps),
    "byte-model": ("byte_model.json", byte_model),
    "dbp": ("dbp.json", dbp),
}
