"""How many photos of other cameras have colours unlike those that the attributes were learned from?

    python benchmarks/photo_distance.py OUT.json TONGUE_MODEL NAME=PHOTOS_DIR ... [--photos N]

PHOTOS_DIR: holds images/; where it has a labels.csv with splits, those of "dev" are taken. No part
of this repository. TONGUE_MODEL: a calibrated tongue pipeline. Of the photos that can be used, in
how many are colours `unfamiliar`, and so abstained from?
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy
from runs import read_labels


def find_photos(folder: Path, most: int) -> list[str]:
    files = {path.stem: str(path) for path in sorted((folder / "images").iterdir())}
    if (folder / "labels.csv").is_file():
        rows = read_labels(folder)
        if "split" in rows[0]:
            files = {row["image"]: files[row["image"]] for row in rows if row["split"] == "dev"}
    return list(files.values())[:most]


def measure(nlp: Any, files: list[str]) -> dict[str, Any]:
    docs = [nlp.make_doc("") for _ in files]
    for doc, file in zip(docs, files, strict=True):
        doc._.tongue_image = file
    used = [doc._.tongue for doc in nlp.pipe(docs) if doc._.tongue["status"] == "ok"]
    distances = [tongue["quality"]["colour_distance"] for tongue in used]
    unfamiliar = [any(a["unfamiliar"] for a in t["attributes"].values()) for t in used]
    return {
        "photos": len(files),
        "used": len(used),
        "unfamiliar": sum(unfamiliar),
        "distance": dict(zip(("least", "median", "most"), _range(distances), strict=True)),
    }


def _range(values: list[float]) -> list[float]:
    return [float(x) for x in numpy.quantile(values, [0, 0.5, 1])] if values else [0.0] * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=PHOTOS_DIR")
    parser.add_argument("--photos", type=int, default=100)
    args = parser.parse_args()
    import spacy
    import torch

    torch.set_num_threads(1)
    nlp = spacy.load(args.model)
    report: dict[str, Any] = {
        "bound": nlp.get_pipe("tongue_encoder").cfg["most_distant"],
        "sets": {},
    }
    for name, folder in (pair.split("=", 1) for pair in args.sets):
        if not (Path(folder) / "images").is_dir():
            raise SystemExit(f"Skipped: there is no folder images in {folder}.")
        report["sets"][name] = measure(nlp, find_photos(Path(folder), args.photos))
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
