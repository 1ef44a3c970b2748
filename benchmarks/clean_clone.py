"""Wall time of `make demo` and `make test` from a clean clone, in a new folder.

    python benchmarks/clean_clone.py OUT.json [TARGET ...]

Only Python, make and git are needed. Each target's time includes what it sets up first; downloads
come from pip's cache where it has them. Times depend on the machine and the network. Targets that
OUT.json holds already and that are not run again are kept.
"""

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("targets", nargs="*", default=["demo", "test"])
    args = parser.parse_args()
    head = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.check_output(head, text=True).strip()
    old = json.loads(args.out.read_text(encoding="utf8")) if args.out.exists() else {}
    targets = old.get("targets", {})
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        for target in args.targets:
            start = perf_counter()
            code = subprocess.run(["make", target], cwd=folder, env=env).returncode
            minutes = round((perf_counter() - start) / 60, 1)
            targets[f"make {target}"] = {"minutes": minutes, "exit_code": code, "commit": commit}
            report = {
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "targets": targets,
            }
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
