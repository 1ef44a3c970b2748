"""The main job on real texts and real photos, whole and with broken photos mixed in.

    python benchmarks/main_job.py OUT.json MODEL TEXTS.jsonl PHOTOS_DIR [--broken 10]

Pairs each text with a photo (both in order; a pairing for load, not of one patient), runs
`python -m spacy_tcm structure` twice, the second time with some photos replaced by broken files,
and counts what came out. Neither texts nor photos are kept.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SUFFIXES = {".jpg", ".jpeg", ".png"}


def broken_files(sample: bytes) -> list[tuple[str, bytes]]:
    """Ten ways in which a photo is broken: (what, content)."""
    return [
        ("cut short", sample[: len(sample) // 3]),
        ("empty", b""),
        ("text file", "不是照片".encode()),
        ("web page", b"<html><body>404</body></html>"),
        ("PDF", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"),
        ("header only", sample[:20]),
        ("GIF", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
        ("zeros", bytes(5000)),
        ("damaged header", b"\xff\xd8\xff" + bytes(reversed(sample[3:2000]))),
        ("declares 65500 x 65500", _huge(sample)),
    ]


def _huge(jpeg: bytes) -> bytes:
    """The JPEG with another size in its start-of-frame segment."""
    at = jpeg.index(b"\xff\xc0") if b"\xff\xc0" in jpeg else jpeg.index(b"\xff\xc2")
    return jpeg[: at + 5] + (65500).to_bytes(2, "big") * 2 + jpeg[at + 9 :]


def run(model: str, records: list[dict], photos: list[Path], n_broken: int) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        images.mkdir()
        rows = []
        for record, photo in zip(records, photos, strict=True):
            shutil.copyfile(photo, images / photo.name)
            rows.append({"id": record["id"], "text": record["text"], "image": photo.name})
        kinds = broken_files(photos[0].read_bytes())
        # Every fifth photo or so, spread over the batch.
        for i in range(n_broken):
            victim = photos[i * len(photos) // n_broken]
            (images / victim.name).write_bytes(kinds[i % len(kinds)][1])
        source = Path(folder) / "input.jsonl"
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf8")
        command = [sys.executable, "-m", "spacy_tcm", "structure", str(source), "--quiet", "--html"]
        command += ["--images", str(images), "--model", model, "--out", str(out)]
        code = subprocess.run(command).returncode
        lines = (out / "records.jsonl").read_text(encoding="utf8").splitlines()
        results = [json.loads(line) for line in lines]
        return {
            "records_in": len(rows),
            "records_out": len(results),
            "same_order": [r["id"] for r in results] == [row["id"] for row in rows],
            "status": dict(Counter(r["status"] for r in results)),
            "photo_status": dict(Counter(r["tongue"]["status"] for r in results)),
            "photo_reasons": dict(Counter(x for r in results for x in r["tongue"]["reasons"])),
            "entities": sum(len(r["entities"]) for r in results),
            "records_without_entities": sum(not r["entities"] for r in results),
            "exit_code": code,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("model")
    parser.add_argument("texts", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--broken", type=int, default=10)
    args = parser.parse_args()
    if not args.texts.is_file() or not args.photos.is_dir():
        raise SystemExit(f"Skipped: {args.texts} or {args.photos} is not there.")
    records = [json.loads(line) for line in args.texts.read_text(encoding="utf8").splitlines()]
    photos = [p for p in sorted(args.photos.iterdir()) if p.suffix.lower() in SUFFIXES]
    photos = photos[: len(records)]
    report = {
        "whole": run(args.model, records, photos, 0),
        "with_broken_photos": {
            "broken": args.broken,
            **run(args.model, records, photos, args.broken),
        },
    }
    args.out.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
