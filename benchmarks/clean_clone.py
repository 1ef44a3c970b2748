"""Wall time of `make demo` and `make test` from a clean clone, in a new folder.

    python benchmarks/clean_clone.py OUT.json [TARGET ...]

Only Python, make and git are needed. Each target's time includes what it sets up first; downloads
come from pip's cache where it has them. Times depend on the machine and the network.
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
    report = {
        "commit": subprocess.check_output(
            ["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], text=True
        ).strip(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "targets": {},
    }
    env = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    with TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)
        for target in args.targets:
            start = perf_counter()
            code = subprocess.run(["make", target], cwd=folder, env=env).returncode
            minutes = round((perf_counter() - start) / 60, 1)
            report["targets"][f"make {target}"] = {"minutes": minutes, "exit_code": code}
            args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf8")


if __name__ == "__main__":
    main()
