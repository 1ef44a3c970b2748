"""Write the figures of benchmarks/*.json into README.md, between its markers.

    python benchmarks/readme.py [--check]

No figure in the README is typed by hand. --check changes nothing and fails if it would.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
PARTS = ("written dev", "gold23.dev (real)")


def table(header: list[str], rows: list[list[str]]) -> str:
    align = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, align, *rows])


def pm(score: dict[str, float | None], digits: int = 1) -> str:
    """Per cent: mean ± standard deviation."""
    if score["mean"] is None:
        return "–"
    text = f"{100 * score['mean']:.{digits}f}"
    return text if score["sd"] is None else f"{text} ± {100 * score['sd']:.{digits}f}"


def ner(data: dict[str, Any]) -> str:
    rows = []
    for row, parts in data["summary"].items():
        for part in PARTS:
            if part in parts:
                s = parts[part]
                names = ("precision", "recall", "f", "overlap_f", "macro_f", "rare_recall")
                rows.append([row, part, str(s["seeds"]), *(pm(s[n]) for n in names)])
    header = ["trained on", "scored on", "seeds", "P", "R", "**F1**", "overlap F1", "macro F1"]
    return table([*header, "rare recall"], rows)


def per_label(data: dict[str, Any]) -> str:
    """The rows with lexicon, by label."""
    columns = [
        (row, part, scores["per_label"])
        for row, parts in data["summary"].items()
        if "no lexicon" not in row
        for part, scores in parts.items()
    ]
    labels = sorted({label for _, _, scores in columns for label in scores})
    rows = []
    for label in labels:
        cells = [label]
        for _, _, scores in columns:
            s = scores.get(label)
            names = ("precision", "recall", "f")
            cells += [str(s["gold"]), *(pm(s[n]) for n in names)] if s else ["–"] * 4
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
    "matcher": ("matcher.json", matcher),
    "main-job": ("main_job.json", main_job),
    "clean-clone": ("clean_clone.json", clean_clone),
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
    old = README.read_text(encoding="utf8")
    new = render(old)
    if args.check:
        sys.exit("README.md is not up to date: run benchmarks/readme.py" if new != old else 0)
    README.write_text(new, encoding="utf8")


if __name__ == "__main__":
    main()
