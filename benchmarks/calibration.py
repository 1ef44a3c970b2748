"""Do scores say how often they are right? Expected calibration error before and after `calibrate`.

    python benchmarks/calibration.py OUT.json CORPUS_DIR GOLD_DIR MODEL ...

CORPUS_DIR, GOLD_DIR: as for ner.py. MODEL: pipelines of one row, kept by `ner.py --choose --keep`:
these have seen neither the tune part nor every fourth of the real training cases. A temperature is
fitted on each of the two, and scored on the dev parts, written and real.
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import spacy
from ner import QUARTER, REAL, TUNE, WRITTEN, mean_sd

from spacy_tcm.training.calibration import calibrate
from spacy_tcm.training.evaluation import evaluate_records
from spacy_tcm.training.reading import read_with_images


def measure(model: str, fit: dict[str, Path], score: dict[str, Path], images: Path) -> dict:
    """Calibration error by what was fitted on, and by what was scored."""
    found: dict[str, Any] = {}
    for name, path in [("nothing", None), *fit.items()]:
        nlp = spacy.load(model)
        temperature = 1.0
        if path is not None:
            records = read_with_images([path], image_root=images)
            temperature = calibrate(nlp, records)["temperature"]
        found[name] = {"temperature": temperature}
        for part, scored in score.items():
            records = read_with_images([scored], image_root=images)
            found[name][part] = evaluate_records(nlp, records)["calibration"][
                "expected_calibration_error"
            ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("gold", type=Path)
    parser.add_argument("models", nargs="+")
    args = parser.parse_args()
    train = args.gold / "gold23.train.jsonl"
    if not train.is_file():
        raise SystemExit(f"Skipped: {train} is not there.")
    with TemporaryDirectory() as folder:
        quarter = Path(folder) / "quarter.jsonl"
        cases = train.read_text(encoding="utf8").splitlines(True)
        quarter.write_text("".join(cases[::4]), encoding="utf8")
        fit = {TUNE: args.corpus / "tune.jsonl", QUARTER: quarter}
        score = {WRITTEN: args.corpus / "dev.jsonl", REAL: args.gold / "gold23.dev.jsonl"}
        images = args.corpus / "images"
        runs = [measure(model, fit, score, images) for model in args.models]
    summary = {
        name: {key: mean_sd([run[name][key] for run in runs]) for key in runs[0][name]}
        for name in runs[0]
    }
    report = {"seeds": len(runs), "summary": summary, "runs": runs}
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
