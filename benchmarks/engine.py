"""What Ray costs on one machine: the same run by one process, and by its workers.

    python -m core bench engine [--dataset SPEC --model SPEC] [--json]

Each way is a command of its own, one after the other, in turns: one process on all cores; one
worker of Ray; as many as there are cores. Told are the seconds until the first photos are done, the
photos a second of the first pass from then on, and the seconds of all of it. The runs are equal
(their tables' digests are compared). PyTorch computes on one thread each, but in the first way,
where it has all cores. Of `rooms` it is the 330 photos of its split val.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from core.cli.common import Answer, say
from core.foundation.engine import cores

TURNS = 3

CODE = """
import json, sys, time
began = time.time()
dataset, model, out, workers = sys.argv[1:5]
SPLITS = tuple(sys.argv[5:])
from core.foundation.settings import Settings
from core.dissect.plan import plan
from core.dissect.pipeline import execute
work = plan(Settings(dataset, model, splits=SPLITS, shuffles=0, untrained=False))
planned = time.time() - began
seen = []
def look(progress):
    if progress.stage == "collect":
        seen.append((time.time() - began, progress.done))
from pathlib import Path
if int(workers):
    from core.dissect.spread import execute_spread
    run = execute_spread(work, Path(out), workers=int(workers), shard=96, progress=look)
else:
    run = execute(work, Path(out), progress=look)
done = [row for row in seen if row[1]]
images = len(work.indices)
end = next(row[0] for row in done if row[1] == images)
print(json.dumps({
    "images": images, "plan": planned, "first": done[0][0], "collected": end,
    "rate": (images - done[0][1]) / (end - done[0][0]), "all": time.time() - began,
    "digest": run.info["tables_digest"],
}))
"""


def measure(dataset: str = "rooms", model: str = "rooms") -> Answer:
    """Time every way of making the run, in turns."""
    many = cores()
    splits = ["val"] if dataset == "rooms" else []
    ways: dict[str, tuple[int, int]] = {
        f"one process, PyTorch on {many} threads": (0, many),
        "one process, PyTorch on 1 thread": (0, 1),
        "ray, 1 worker": (1, 1),
        f"ray, {many} workers": (many, 1),
    }
    told: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    for turn in range(TURNS):
        for name, (workers, threads) in ways.items():
            say(f"turn {turn + 1} of {TURNS}: {name}")
            with tempfile.TemporaryDirectory(prefix="unitscope-") as folder:
                done = subprocess.run(
                    [sys.executable, "-c", CODE, dataset, model, folder, str(workers), *splits],
                    env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                    cwd=Path(__file__).parents[1],
                    check=True,
                    capture_output=True,
                    text=True,
                )
            told[name].append(json.loads(done.stdout.splitlines()[-1]))
    rows = []
    for name, held in told.items():
        row: dict[str, Any] = {"way": name, "images": held[0]["images"]}
        for key in ("plan", "first", "rate", "all"):
            values = [one[key] for one in held]
            row[key] = round(statistics.median(values), 2)
            row[f"{key}_range"] = [round(min(values), 2), round(max(values), 2)]
        row["digests"] = sorted({one["digest"] for one in held})
        rows.append(row)
    lines = [f"{'':34} {'first photos':>14} {'photos/s':>16} {'all of it':>16}"]
    for row in rows:
        first, rate, whole = (
            f"{row[key]:.1f} ({row[f'{key}_range'][0]:.1f}–{row[f'{key}_range'][1]:.1f})"
            for key in ("first", "rate", "all")
        )
        lines.append(f"{row['way']:34} {first:>14} {rate:>16} {whole:>16}")
    same = len({digest for row in rows for digest in row["digests"]}) == 1
    lines.append(
        f"{rows[0]['images']:,} photos; median of {TURNS} (range), seconds; tables "
        + ("equal in all" if same else "DIFFER")
    )
    return {"ways": rows, "equal": same, "load": os.getloadavg()}, "\n".join(lines)
