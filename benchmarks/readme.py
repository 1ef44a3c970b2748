"""Write the figures of JSON files into README.md and other pages, between their markers.

    python benchmarks/readme.py [--check]

No figure there is typed by hand. --check changes nothing and fails if it would.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

import benchmarks_page
import chinese
import compression_page
import data_card
import structure_page
from tables import pm, table

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGES = (
    ROOT / "README.md",
    ROOT / "README.zh.md",
    HERE / "NER.md",
    HERE / "TONGUE.md",
    HERE / "COMPRESSION.md",
    HERE / "STRUCTURE.md",
    ROOT / "docs" / "benchmarks.md",
    ROOT / "assets" / "encoder" / "README.md",
    ROOT / "assets" / "tongue" / "README.md",
    ROOT / "docs" / "model_card.md",
    ROOT / "docs" / "data_card.md",
)
PARTS = ("written dev", "gold23.dev (real)")
BY_LABEL = ("records + real", "TinyBERT, records + real")
SCORES = ("precision", "recall", "f")
CHOICES = ("written tune", "a quarter of gold23.train (real)")


def ner(data: dict[str, Any], scored: tuple[str, ...] = PARTS) -> str:
    rows = []
    for row, parts in data["summary"].items():
        for part in scored:
            if part in parts:
                s = parts[part]
                names = ("precision", "recall", "f", "overlap_f", "macro_f", "rare_recall")
                rows.append([row, part, str(s["seeds"]), *(pm(s[n]) for n in names)])
    header = ["trained on", "scored on", "seeds", "P", "R", "**F1**", "overlap F1", "macro F1"]
    return table([*header, "rare recall"], rows)


def choices(data: dict[str, Any]) -> str:
    return ner(data, CHOICES)


def trials(data: dict[str, Any]) -> str:
    rows = [
        [trial["name"], str(trial["records"])]
        + [f"{100 * trial['scores'][part][n]:.1f}" for part in CHOICES for n in ("f", "rare")]
        for trial in data["trials"]
    ]
    header = [f"{part}: {x}" for part in CHOICES for x in ("F1", "rare recall")]
    return table(["trial", "records", *header], rows)


def ensemble(data: dict[str, Any]) -> str:
    rows = [
        [name, *(f"{100 * row[part][n]:.1f}" for part in PARTS for n in ("f", "rare_recall"))]
        for name, row in data["rows"].items()
    ]
    header = [f"{part}: {x}" for part in PARTS for x in ("F1", "rare recall")]
    return table(["together", *header], rows)


def user_terms(data: dict[str, Any]) -> str:
    rows = [
        [run, f"{100 * r['recall']:.1f}", f"{100 * r['f_of_everything']:.1f}"]
        for run, r in data["runs"].items()
    ]
    lines = table(["", "recall of the invented names", "F1 of everything"], rows)
    return f"{lines}\n\n{data['invented']} invented names in {data['records']} records."


def corpora(data: dict[str, Any]) -> str:
    rows = [
        [corpus, row, str(s["seeds"]), str(s["gold"]), *(pm(s[n]) for n in SCORES)]
        for corpus, found in data["summary"].items()
        for row, s in found.items()
    ]
    header = ["dev part of", "trained on", "seeds", "gold", "P", "R", "**F1**"]
    return table(header, rows)


def calibration(data: dict[str, Any]) -> str:
    rows = [
        [name, f"{s['temperature']['mean']:.2f}", *(pm(s[part]) for part in PARTS)]
        for name, s in data["summary"].items()
    ]
    return table(["fitted on", "temperature", *PARTS], rows)


def text_speed(data: dict[str, Any]) -> str:
    rows = [
        [
            name,
            f"{r['times_as_fast']:.1f} ×",
            f"{r['peak_bytes'] / 2**20:.0f} MB",
            f"{100 * r['share_of_peak']:.0f} %",
            f"{r['disk_bytes'] / 2**20:.0f} MB",
        ]
        for name, r in sorted(data["rows"].items(), key=lambda row: -row[1]["times_as_fast"])
    ]
    header = ["", "speed against BERT-Large", "peak memory", "of BERT-Large's", "on disk"]
    note = (
        f"{data['records']} records, {data['characters']:,} characters, text alone, "
        f"{data['threads']} thread, median of {data['rounds']} rounds in turn."
    )
    return f"{table(header, rows)}\n\n{note}"


def pretraining(data: dict[str, Any]) -> str:
    rows = [
        [
            f"{entry['tokens'] / 1e6:.1f}",
            f"{entry['loss']:.2f}",
            f"{entry['domain_perplexity']:.0f}",
            f"{entry['general_perplexity']:.0f}",
        ]
        for entry in data["history"]
        if "domain_perplexity" in entry
    ]
    header = ["million subwords seen", "loss", "clinical texts", "old books"]
    return table(header, rows)


def segmenter(data: dict[str, Any]) -> str:
    rows = [
        [name, str(d["photos"]), *(f"{d[n]:.3f}" for n in ("mean", "median", "worst"))]
        for name, d in data["dice"].items()
    ]
    lines = table(["held out of", "photos", "Dice: mean", "median", "worst"], rows)
    return f"{lines}\n\nTrained on {data['trained_on']:,} photos, seed {data['seed']}."


PLAIN = "as it is"
SHOWN = ("accuracy", "macro_f", "calibration_error_before", "calibration_error", "coverage")
TOLD = ("told", "told_accuracy")


def tongue(data: dict[str, Any]) -> str:
    rows = []
    for name in data["attributes"]:
        for row, changes in data["rows"].items():
            s = changes[PLAIN][name]
            ours = "calibration_error_before" in s
            told = [pm(s[n]) if ours else "–" for n in TOLD]
            figures = [pm(s[n]) if n in s else "–" for n in SHOWN]
            rows.append([name, row, str(s["photos"]), *figures, *told])
    header = ["attribute", "", "photos", "accuracy", "macro F1", "calibration error, raw"]
    more = ["calibrated", "coverage at 90 %", "told", "right of those told"]
    return table([*header, *more], rows)


def tongue_changed(data: dict[str, Any]) -> str:
    rows = [
        [change, row, *(pm(changes[change][name]["accuracy"]) for name in data["attributes"])]
        for change in data["rows"]["ours"]
        for row, changes in data["rows"].items()
        if change in changes and len(changes) > 1
    ]
    return table(["photo", "", *data["attributes"]], rows)


def tongue_fields(data: dict[str, Any]) -> str:
    rows = [
        [source, name, str(s["gold"]), *(f"{100 * s[n]:.1f}" for n in SCORES)]
        for source, scores in data["rows"].items()
        for name, s in scores.items()
    ]
    lines = table(["", "field", "values", "P", "R", "**F1**"], rows)
    return f"{lines}\n\n{data['records']} records."


def conflicts(data: dict[str, Any]) -> str:
    rows = [
        [
            *(source, name, str(s["pairs"]), str(s["conflicts"])),
            # Of fewer disagreements among as many pairs, the precision says nothing new.
            *("–" if "opposite" in name else pm(s["precision"]), pm(s["recall"])),
        ]
        for source, scores in data["flag"].items()
        for name, s in scores.items()
    ]
    header = ["text read from", "compared", "pairs", "of them disagree", "precision", "recall"]
    lines = table(header, rows)
    return f"{lines}\n\nA conflict below {data['bound']:g}; {data['seeds']} tongue nets."


def conflict_bounds(data: dict[str, Any]) -> str:
    rows = [[bound, pm(s["precision"]), pm(s["recall"])] for bound, s in data["chosen_on"].items()]
    return table(["bound", "precision", "recall"], rows)


def photo_fields(data: dict[str, Any]) -> str:
    rows = [
        [text, photo, *(pm(s[n]) for n in ("precision", "recall"))]
        for text, found in data["fields"].items()
        for photo, s in found.items()
    ]
    return table(["tongue in the text", "photo", "precision", "recall"], rows)


def heat_maps(data: dict[str, Any]) -> str:
    rows = [
        [name, method, f"{s['mean']:.2f} ± {s['sd']:.2f}"]
        for name, found in data["falls"].items()
        for method, s in found.items()
    ]
    lines = table(["attribute", "map", "fall of the score"], rows)
    return f"{lines}\n\n{data['photos']} photos, {data['seeds']} tongue nets."


def photo_distance(data: dict[str, Any]) -> str:
    rows = [
        [
            *(name, str(r["used"]), str(r["unfamiliar"])),
            *(f"{r['distance'][n]:.2f}" for n in ("least", "median", "most")),
        ]
        for name, r in data["sets"].items()
    ]
    header = ["photos", "used", "colours unfamiliar", "distance: least", "median", "most"]
    return f"{table(header, rows)}\n\nUnfamiliar beyond {data['bound']:.2f}."


def fusion(data: dict[str, Any]) -> str:
    rows = [
        [row, title, str(s["seeds"]), *(pm(s[n]) if s[n] else "–" for n in ("f", "tongue_f"))]
        for row, scores in data["summary"].items()
        for title, s in scores.items()
    ]
    return table(["", "text, photo", "seeds", "F1", "F1 of TONGUE"], rows)


def gates(data: dict[str, Any]) -> str:
    rows = [
        [row, title, *(f"{s[n]['mean']:.3f}" for n in ("gate_at_tongue", "gate_elsewhere"))]
        for row, scores in data["summary"].items()
        for title, s in scores.items()
        if s["gate_at_tongue"] and "no gate" not in row
    ]
    return table(["", "text, photo", "gate at TONGUE", "elsewhere"], rows)


def photo_faults(data: dict[str, Any]) -> str:
    def shares(r: dict[str, Any]) -> list[str]:
        return [f"{100 * r[n] / r['photos']:.0f}" for n in ("rejected", "right")]

    rows = []
    chosen = {(r["fault"], r["strength"]): r for r in data["faults"]["train"] if r["photos"]}
    for part in ("dev", "device"):
        for r in data["faults"].get(part, []):
            key = r["fault"], r["strength"]
            of_train = shares(chosen[key])[0] if key in chosen else "–"
            rows.append([r["fault"], f"{key[1]:g} {r['meaning']}", *shares(r), of_train])
    found = {f"parts of {part}": r for part, r in data["no_tongue"]["parts"].items()}
    for kind, r in {**found, **data["no_tongue"]["drawn"]}.items():
        if r["photos"]:
            rows.append(["no tongue", f"{kind} ({r['photos']})", *shares(r), "–"])
    header = ["fault", "strength", "rejected", "for the right reason", "rejected of train"]
    sizes = (f"{found[0]['photos']} of {part}" for part, found in data["faults"].items())
    return f"{table(header, rows)}\n\nPhotos made faulty: {', '.join(sizes)}."


def photo_alarms(data: dict[str, Any]) -> str:
    """Of whole sets, then of the wild photos of each class."""
    found = data["untouched"] | {f"wild: {name}": r for name, r in data["classes"].items()}
    rows = [
        [part, str(r["photos"]), ", ".join(f"{n} {reason}" for reason, n in r["reasons"].items())]
        for part, r in found.items()
    ]
    return table(["photos as they are", "", "rejected"], rows)


def photo_bounds(data: dict[str, Any]) -> str:
    sets = list(data["untouched"])
    rows = []
    for reason, name, least, most in data["bounds"]:
        side, bound = (0, f"≥ {least:g}") if most is None else (1, f"≤ {most:g}")
        reach = (data["untouched"][part]["reach"][name][side] for part in sets)
        rows.append([reason, name, bound, *(f"{value:.3g}" for value in reach)])
    return table(["reason", "measured", "passes", *(f"worst of {n}" for n in sets)], rows)


def photo_steps(data: dict[str, Any]) -> str:
    rows = [[step, f"{100 * share:.0f} %"] for step, share in data["steps"].items()]
    return table(["step", "share of a photo's time"], rows)


def photo_speed(data: dict[str, Any]) -> str:
    times = data["nets"] | data["large"]
    rows = [
        [row, f"{times[row]:.2f}", f"{n / 2**20:.0f} MB"] for row, n in data["peak_bytes"].items()
    ]
    kind = "rendered ones" if data["rendered"] else "of TonguExpert"
    return f"{table(['', 'time', 'peak memory'], rows)}\n\n{data['photos']} photos, {kind}."


def per_label(data: dict[str, Any]) -> str:
    """The rows of `BY_LABEL`, by label."""
    columns = [
        (row, part, scores["per_label"])
        for row, parts in data["summary"].items()
        if row in BY_LABEL
        for part, scores in parts.items()
    ]
    labels = sorted({label for _, _, scores in columns for label in scores})
    rows = []
    for label in labels:
        cells = [label]
        for _, _, scores in columns:
            s = scores.get(label)
            cells += [str(s["gold"]), *(pm(s[n]) for n in SCORES)] if s else ["–"] * 4
        rows.append(cells)
    header = [f"{row} → {part}: {x}" for row, part, _ in columns for x in ("gold", "P", "R", "F1")]
    return table(["label", *header], rows)


def matcher(data: dict[str, Any]) -> str:
    found = data["share_of_planted_terms_found"]
    rows = [
        [name, f"{times:.1f} ×", f"{100 * found[name]:.1f} %" if name in found else ""]
        for name, times in data["times_as_fast_as_jieba"].items()
    ]
    lengths = [
        length["times_the_shortest"] for length in data["matcher_seconds_by_length"].values()
    ]
    lines = table(["", "speed against jieba", "planted terms found"], rows)
    size = (
        f"{data['terms']:,} terms, {data['text']['characters']:,} characters of text, one thread."
    )
    growth = ", ".join(f"{x:.2f}" for x in lengths)
    return f"{lines}\n\n{size} The matcher's time for texts of 1, 2, 4 and 8 lengths: {growth}."


def main_job(data: dict[str, Any]) -> str:
    rows = []
    for name, r in data.items():
        photos = ", ".join(f"{n} {status}" for status, n in sorted(r["photo_status"].items()))
        errors = r["status"].get("error", 0)
        rows.append(
            [
                name.replace("_", " "),
                str(r["records_in"]),
                str(r["records_out"]),
                str(errors),
                photos,
            ]
        )
    return table(["run", "records in", "records out", "errors", "photos"], rows)


def clean_clone(data: dict[str, Any]) -> str:
    rows = [
        [f"`{target}`", f"{r['minutes']:.1f}", str(r["exit_code"])]
        for target, r in data["targets"].items()
    ]
    return table(["from a clean clone", "minutes", "exit code"], rows)


BLOCKS = {
    "ner": ("ner.json", ner),
    "per-label": ("ner.json", per_label),
    "ner-augmentation": ("ner_augmentation.json", choices),
    "ner-encoders": ("ner_encoders.json", choices),
    "encoder-start": ("encoder_start.json", choices),
    "ensemble": ("ensemble.json", ensemble),
    "ner-trials": ("ner_trials.json", trials),
    "user-terms": ("user_terms.json", user_terms),
    "corpora": ("corpora.json", corpora),
    "calibration": ("calibration.json", calibration),
    "text-speed": ("text_speed.json", text_speed),
    "pretraining": ("../assets/encoder/pretraining.json", pretraining),
    "segmenter": ("../assets/tongue/segmenter.json", segmenter),
    "tongue": ("tongue.json", tongue),
    "tongue-changed": ("tongue.json", tongue_changed),
    "tongue-fields": ("tongue_fields.json", tongue_fields),
    "conflicts": ("conflicts.json", conflicts),
    "conflict-bounds": ("conflicts.json", conflict_bounds),
    "photo-fields": ("conflicts.json", photo_fields),
    "heat-maps": ("heat_maps.json", heat_maps),
    "photo-distance": ("photo_distance.json", photo_distance),
    "fusion": ("fusion.json", fusion),
    "gates": ("fusion.json", gates),
    "photo-bounds": ("photo_quality.json", photo_bounds),
    "photo-alarms": ("photo_quality.json", photo_alarms),
    "photo-faults": ("photo_quality.json", photo_faults),
    "photo-steps": ("photo_speed.json", photo_steps),
    "photo-speed": ("photo_speed.json", photo_speed),
    "matcher": ("matcher.json", matcher),
    "main-job": ("main_job.json", main_job),
    "clean-clone": ("clean_clone.json", clean_clone),
    **compression_page.BLOCKS,
    **structure_page.BLOCKS,
    **benchmarks_page.BLOCKS,
    **data_card.BLOCKS,
    "headline-zh": ("released.json", chinese.headline_zh),
}


def render(text: str) -> str:
    for name, (file, make) in BLOCKS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.S)
        if (HERE / file).exists():
            body = make(json.loads((HERE / file).read_text(encoding="utf8")))
            text = pattern.sub(lambda m, body=body: f"{m[1]}{body}\n{m[2]}", text)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    for page in filter(Path.exists, PAGES):
        old = page.read_text(encoding="utf8")
        new = render(old)
        if args.check and new != old:
            sys.exit(f"{page} is not up to date: run benchmarks/readme.py")
        page.write_text(new, encoding="utf8")


if __name__ == "__main__":
    main()
