"""The deployed pipeline beside the one it was made from and BERT-Large's shape: speed, memory,
start, size, equality.

    python benchmarks/deployed.py OUT.json MODEL --records FILE [--images DIR] [--full TRAINED]
        [--python PYTHON] [--wheel FILE] [--annotated NAME=FILE ...] [--photos DIR] [--rounds 5]
        [--only SECTION ...]

MODEL: a deployed pipeline, a folder or an installed package; TRAINED: the pipeline it was made
from. FILE: records, of whose lengths --count are taken evenly; DIR: photos, one for each record,
written anew as JPEGs of 1000 x 800 pixels, no two alike; without it those that the records name.
PYTHON: of the environment that the deployed pipeline runs in. Every row is a process of its own;
the processes take turns, a round each. BERT-Large's shape (24 layers, 1024 wide, 16 heads, 4096
within, 93 tags, random weights, padded batches of eight in the order of arrival) reads the text
alone of --few of the same records, again evenly by length, so that rows compare by characters.
Sections already in OUT.json are kept, unless named by --only.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, time
from typing import Any

from deployed_worker import LARGE, LARGE_16, PIPELINE
from photo_speed import apart

ROOT = Path(__file__).parents[1]
HERE = Path(__file__).parent
PHONE = (1000, 800)
DEPLOYED, TRAINED = "deployed", "as trained"
TEXT, PHOTO = "text", "text + photo"
STARTS = 5

# Prints the times of its steps, in seconds since the epoch.
COLD = """
import json, sys, time
times = [time.time()]
import spacy
times.append(time.time())
nlp = spacy.load(sys.argv[1])
times.append(time.time())
item = json.load(open(sys.argv[2], encoding="utf8"))[0]
doc = nlp.make_doc(item["text"])
doc._.tongue_image = item["image"]
entities = [(ent.text, ent.label_) for ent in nlp(doc).ents]
times.append(time.time())
print(json.dumps({"times": times, "entities": len(entities), "photo": doc._.tongue["status"]}))
"""
STEPS = ("start of Python", "import spacy", "load", "first record")
PLACES = """
import json, sys, sysconfig
from importlib.util import find_spec
found = find_spec(sys.argv[1]) if sys.argv[1].isidentifier() else None
package = found.submodule_search_locations[0] if found else None
paths = sysconfig.get_paths()
print(json.dumps([sorted({paths["purelib"], paths["platlib"]}), package]))
"""


@dataclass
class Settings:
    """What the sections need. folder: see `prepare`."""

    model: str
    full: str | None
    python: str
    wheel: Path | None
    annotated: dict[str, Path]
    photos: Path | None
    rounds: int
    folder: Path
    threads: tuple[int, ...]
    many: int
    images: bool


class Worker:
    """A process of `deployed_worker.py`."""

    def __init__(
        self, settings: Settings, row: str, threads: int, model: str = "", python: str = ""
    ):
        env = {**os.environ, "OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
        # OpenMP's threads must not spin while other rows have their turn.
        env["OMP_WAIT_POLICY"] = "passive"
        script = str(HERE / "deployed_worker.py")
        command = [python or sys.executable, script, str(settings.folder), row, model]
        self.process = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._read()

    def ask(self, todo: str, **settings: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        print(json.dumps({"do": todo, **settings}), file=self.process.stdin, flush=True)
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A row ended early, with exit code {self.process.wait()}.")
        return json.loads(line)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def evenly(items: list[Any], count: int, key: Callable[[Any], int]) -> list[Any]:
    """count of the items, at even ranks of the key, in their order: the same distribution."""
    ranked = sorted(range(len(items)), key=lambda i: key(items[i]))
    count = min(count, len(items))
    return [
        items[i] for i in sorted(ranked[int((n + 0.5) * len(items) / count)] for n in range(count))
    ]


def prepare(
    records: Path, images: Path | None, count: int, few: int, folder: str
) -> dict[str, Any]:
    """Write many.json, few.json and the photos. Runs in a process of its own: it imports Pillow."""
    from PIL import Image

    out = Path(folder)
    seen: dict[str, dict[str, Any]] = {}
    for line in records.read_text(encoding="utf8").splitlines():
        record = json.loads(line)
        seen.setdefault(record["text"], record)
    chosen = evenly(list(seen.values()), count, lambda record: len(record["text"]))
    random.Random(0).shuffle(chosen)
    if images is None:
        named = {
            r["image"]: records.parent / "images" / r["image"]
            for r in seen.values()
            if r.get("image")
        }
        sources = [path for path in named.values() if path.is_file()]
    else:
        sources = sorted(
            p for p in images.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
    items = []
    for i, record in enumerate(chosen):
        path = None
        if sources:
            path = out / f"{i}.jpg"
            again, place = divmod(i, len(sources))
            with Image.open(
                sources[place * max(1, len(sources) // len(chosen)) % len(sources)]
            ) as photo:
                photo = photo.convert("RGB").resize(PHONE, Image.Resampling.BICUBIC)
                photo.rotate(2 * again).save(path, quality=90)
        items.append({"text": record["text"], "image": None if path is None else str(path)})
    subset = evenly(items, few, lambda item: len(item["text"]))
    for name, part in (("many", items), ("few", subset)):
        (out / f"{name}.json").write_text(json.dumps(part), encoding="utf8")
    return {
        name: {
            "records": len(part),
            "characters": sum(len(i["text"]) for i in part),
            "longest": max(len(i["text"]) for i in part),
        }
        for name, part in (("many", items), ("few", subset))
    } | {"photos": len(sources)}


def parts(settings: Settings) -> dict[str, bool]:
    """Title -> whether the photos are looked at."""
    return {TEXT: False, **({PHOTO: True} if settings.images else {})}


def pipelines(settings: Settings) -> dict[str, tuple[str, str]]:
    """Title -> pipeline, Python."""
    found = {DEPLOYED: (settings.model, settings.python)}
    return found | ({TRAINED: (settings.full, "")} if settings.full else {})


def throughput(settings: Settings) -> dict[str, Any]:
    """Characters and records a second, as medians and as multiples of BERT-Large's of the same
    round."""
    import roofline

    found: dict[str, Any] = {}
    reference_rows = (LARGE, LARGE_16) if roofline.has_bf16() else (LARGE,)
    for threads in settings.threads:
        taken: dict[str, list[dict[str, Any]]] = {}
        with ExitStack() as stack:
            rows: dict[str, Callable[[], dict[str, Any]]] = {}
            for title, (model, python) in pipelines(settings).items():
                worker = stack.enter_context(Worker(settings, PIPELINE, threads, model, python))
                for part, photos in parts(settings).items():
                    for what, rules in ((part, False), (f"{part}, to the whole record", True)):
                        rows[f"{title}, {what}"] = lambda w=worker, p=photos, r=rules: w.ask(
                            "round", photos=p, rules=r
                        )
            for title in reference_rows:
                worker = stack.enter_context(Worker(settings, title, threads))
                rows[title] = lambda w=worker: w.ask("round")
            for number in range(settings.rounds + 1):
                for title, run in rows.items():
                    answer = run()
                    if number:  # the first warms up
                        taken.setdefault(title, []).append(answer)
                    print(f"{threads} threads, {title}: {answer['seconds']:.2f} s", flush=True)
        reference = [_rate(answer, "characters") for answer in taken[LARGE]]
        found[str(threads)] = {
            title: {
                "seconds": [a["seconds"] for a in answers],
                "records": answers[0]["records"],
                "characters": answers[0]["characters"],
                "photos": answers[0].get("photos"),
                "records_per_second": statistics.median(_rate(a, "records") for a in answers),
                "characters_per_second": statistics.median(_rate(a, "characters") for a in answers),
                "times_as_fast": statistics.median(
                    _rate(a, "characters") / r for a, r in zip(answers, reference, strict=True)
                ),
            }
            for title, answers in taken.items()
        }
    return found


def _rate(answer: dict[str, Any], what: str) -> float:
    return answer[what] / answer["seconds"]


def shares_of_peak(settings: Settings) -> dict[str, Any]:
    """Operations for a record, and how many a second are reached of what the machine can do; one
    thread."""
    with Worker(settings, PIPELINE, 1, settings.model, settings.python) as worker:
        peaks: list[dict[str, float]] = []
        taken: dict[str, list[float]] = {part: [] for part in parts(settings)}
        records = 0
        for number in range(settings.rounds + 1):
            found = worker.ask("peaks")
            for part, photos in parts(settings).items():
                answer = worker.ask("round", photos=photos)
                records = answer["records"]
                if number:
                    taken[part].append(answer["seconds"])
            if number:
                peaks.append(found)
        operations = {
            part: worker.ask("operations", photos=photos)
            for part, photos in parts(settings).items()
        }
    peak = {name: statistics.median(p[name] for p in peaks) for name in peaks[0]}
    result = {}
    for part, times in taken.items():
        needed = {
            name: sum(by_pipe.values()) / records for name, by_pipe in operations[part].items()
        }
        speed = needed["alone"] * records / statistics.median(times)
        result[part] = {
            "operations": needed,
            "by_component": {
                name: total / records for name, total in operations[part]["alone"].items()
            },
            "operations_per_second": speed,
            "share_of_peak": {name: speed / value for name, value in peak.items()},
        }
    return {"peaks": peak, "parts": result}


def memory(settings: Settings) -> dict[str, Any]:
    """Peak of a fresh process, in bytes, one thread: pipelines by 100 records, BERT-Large by 8."""
    photos = settings.images
    found = {}
    for title, (model, python) in pipelines(settings).items():
        with Worker(settings, PIPELINE, 1, model, python) as worker:
            answer = worker.ask("round", photos=photos, limit=100)
            found[title] = {"records": answer["records"], **worker.ask("peak")}
    with Worker(settings, LARGE, 1) as worker:
        answer = worker.ask("round", limit=8)
        found[LARGE] = {"records": answer["records"], **worker.ask("peak")}
    for row in found.values():
        row["share"] = row["peak_bytes"] / found[LARGE]["peak_bytes"]
    return found


def cold_start(settings: Settings) -> dict[str, Any]:
    """Seconds from the start of Python to the entities of the first record, photo included; files
    are in the system's cache already."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    found = {}
    for title, (model, python) in pipelines(settings).items():
        runs = []
        for _ in range(STARTS + 1):
            begin = time()
            done = subprocess.run(
                [python or sys.executable, "-c", COLD, model, str(settings.folder / "many.json")],
                env=env,
                check=True,
                capture_output=True,
                text=True,
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            times = [begin, *answer["times"]]
            runs.append([b - a for a, b in pairwise(times)])
        runs = runs[1:]
        found[title] = {
            "seconds": statistics.median(map(sum, runs)),
            "runs": [sum(run) for run in runs],
            "steps": {
                step: statistics.median(run[i] for run in runs) for i, step in enumerate(STEPS)
            },
            "import_share": statistics.median(run[1] / sum(run) for run in runs),
            "entities": answer["entities"],
            "photo": answer["photo"],
        }
    return found


def size(settings: Settings) -> dict[str, Any]:
    """Bytes on disk of the environment, the installed pipeline and its wheel."""
    done = subprocess.run(
        [settings.python, "-c", PLACES, Path(settings.model).name],
        check=True,
        capture_output=True,
        text=True,
        cwd=settings.folder,  # where no folder is a package
    )
    places, package = json.loads(done.stdout)
    model = Path(settings.model) if Path(settings.model).exists() else Path(package)
    return {
        "environment_bytes": sum(on_disk(Path(place)) for place in places),
        "environment_alone_bytes": sum(
            on_disk(Path(place), ("pip", "setuptools", "__pycache__")) for place in places
        ),
        "model_bytes": on_disk(model),
        "wheel_bytes": settings.wheel.stat().st_size if settings.wheel else None,
    }


def on_disk(folder: Path, without: tuple[str, ...] = ()) -> int:
    """As `du` counts: whole blocks, links not followed. without: names of folders, or what the
    names of packages' folders begin with before a hyphen."""
    total = 0
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name.split("-")[0] not in without]
        total += sum(os.lstat(os.path.join(place, name)).st_blocks * 512 for name in files)
    return total


def latency(settings: Settings) -> dict[str, Any]:
    """Milliseconds of ``nlp(doc)``, a record at a time, one thread."""
    found = {}
    for title, (model, python) in pipelines(settings).items():
        with Worker(settings, PIPELINE, 1, model, python) as worker:
            for part, photos in parts(settings).items():
                worker.ask("latency", photos=photos)  # warms up
                seconds = worker.ask("latency", photos=photos)["seconds"]
                cuts = statistics.quantiles(seconds, n=20, method="inclusive")
                found[f"{title}, {part}"] = {"p50": 1000 * cuts[9], "p95": 1000 * cuts[18]}
    return found


def processes(settings: Settings) -> dict[str, Any]:
    """Records a second of ``nlp.pipe`` and of the command `structure` (its start included) with one
    and two processes of one thread each."""
    found: dict[str, Any] = {"records": settings.many, "pipe": {}, "structure": {}}
    with Worker(settings, PIPELINE, 1, settings.model, settings.python) as worker:
        for n_process in (1, 2):
            answers = [
                worker.ask("round", photos=settings.images, n_process=n_process)
                for _ in range(settings.rounds)
            ]
            rates = [_rate(answer, "records") for answer in answers]
            found["pipe"][str(n_process)] = statistics.median(rates)
    items = json.loads((settings.folder / "many.json").read_text(encoding="utf8"))
    inputs = settings.folder / "inputs.jsonl"
    with inputs.open("w", encoding="utf8") as file:
        for i, item in enumerate(items):
            image = {"image": Path(item["image"]).name} if item["image"] else {}
            print(json.dumps({"id": str(i), "text": item["text"], **image}), file=file)
    for n_process in (1, 2):
        rates = []
        for _ in range(settings.rounds):
            with TemporaryDirectory() as out:
                command = [settings.python, "-m", "spacy_tcm", "structure", str(inputs), "-q"]
                command += ["--out", out, "--model", settings.model, "--n-process", str(n_process)]
                if settings.images:
                    command += ["--images", str(settings.folder)]
                start = perf_counter()
                subprocess.run(command, check=True)
                rates.append(len(items) / (perf_counter() - start))
        found["structure"][str(n_process)] = statistics.median(rates)
    return found


def equality(settings: Settings) -> dict[str, Any] | None:
    """How much the deployed pipeline finds what the trained one does, and how well both do."""
    if settings.full is None:
        return None
    from deployed_equality import compare

    return apart(
        compare,
        settings.full,
        settings.model,
        str(settings.folder / "many.json"),
        {name: str(path) for name, path in settings.annotated.items()},
        None if settings.photos is None else str(settings.photos),
    )


SECTIONS: dict[str, Callable[[Settings], Any]] = {
    "throughput": throughput,
    "roofline": shares_of_peak,
    "memory": memory,
    "cold_start": cold_start,
    "size": size,
    "latency": latency,
    "processes": processes,
    "equality": equality,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("model")
    parser.add_argument("--records", type=Path, default=ROOT / "corpus" / "train.jsonl")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--full", metavar="TRAINED")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--wheel", type=Path, default=next(ROOT.glob("models/*.whl"), None))
    parser.add_argument("--annotated", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--photos", type=Path, help="Folder with labels.csv and images/.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--count", type=int, default=200, help="Records of the pipelines.")
    parser.add_argument("--few", type=int, default=24, help="Records of BERT-Large.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS)
    args = parser.parse_args()
    report = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else {}
    with TemporaryDirectory() as folder:
        data = apart(prepare, args.records, args.images, args.count, args.few, folder)
        settings = Settings(
            # A path stays one in a process that starts elsewhere.
            str(Path(args.model).resolve()) if Path(args.model).exists() else args.model,
            args.full,
            args.python,
            args.wheel,
            {name: Path(file) for name, file in (a.split("=", 1) for a in args.annotated)},
            args.photos,
            args.rounds,
            Path(folder),
            tuple(args.threads),
            data["many"]["records"],
            bool(data["photos"]),
        )
        report["data"] = data
        report["rounds"] = args.rounds
        report["system"] = {
            "python": platform.python_version(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            **{p: version(p) for p in ("spacy-tcm", "spacy", "torch", "transformers", "openvino")},
        }
        for name in args.only or [name for name in SECTIONS if name not in report]:
            found = SECTIONS[name](settings)
            if found is not None:
                report[name] = found
            text = json.dumps(report, indent=1, ensure_ascii=False)
            args.out.write_text(text + "\n", encoding="utf8")
            print(f"{name}: done", flush=True)


if __name__ == "__main__":
    main()
