"""Run a benchmark and keep how long it took, in wall.json.

    python wall.py SCRIPT.py OUT.json [ARGUMENT ...]

A script that goes on with what OUT.json holds adds to its time; the time of any other, and where
OUT.json is not there yet, begins anew.
"""

import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

GOES_ON = {
    *("experiments.py", "shapes.py", "growth.py"),
    *("peers.py", "fusion.py", "compression.py"),
}
WALL = Path(__file__).with_name("wall.json")


def main() -> None:
    script, out, *more = sys.argv[1:]
    times = json.loads(WALL.read_text(encoding="utf8")) if WALL.exists() else {}
    goes_on = script in GOES_ON and Path(out).exists()
    before = times.get(script, {}) if goes_on else {}
    start = perf_counter()
    done = subprocess.run([sys.executable, script, out, *more])
    times[script] = {
        "seconds": round(before.get("seconds", 0) + perf_counter() - start, 1),
        "calls": before.get("calls", 0) + 1,
    }
    WALL.write_text(json.dumps(dict(sorted(times.items())), indent=1) + "\n", encoding="utf8")
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
