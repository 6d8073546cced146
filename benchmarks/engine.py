"""What Ray costs on one machine: the same run by one process, and by its workers.

    python -m core bench engine [--dataset SPEC --model SPEC] [--json]

Each way is a command of its own, one after the other, in turns: one process on all cores, and on
one; one worker of Ray; as many as there are cores. Told are the seconds until the first photos are
done, the photos a second of the first pass behind its first tenth, the seconds of all of it, and
the processor seconds of the command and all that it started (read from /proc twice a second), which
other work on the machine hardly changes. The runs are equal: their tables' digests are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.cli.common import Answer, say
from core.foundation.engine import cores

TURNS = 3

CODE = """
import json, sys, time
began = time.time()
dataset, model, out, workers = sys.argv[1:5]
from core.foundation.settings import Settings
from core.dissect.plan import plan
from core.dissect.pipeline import execute
work = plan(Settings(dataset, model, shuffles=0, untrained=False))
planned = time.time() - began
seen = []
def look(progress):
    if progress.stage == "collect":
        seen.append((time.time() - began, progress.done))
from pathlib import Path
if int(workers):
    from core.dissect.spread import Crew, execute_spread
    run = execute_spread(work, Path(out), crew=Crew(int(workers)), shard=96, progress=look)
else:
    run = execute(work, Path(out), progress=look)
done = [row for row in seen if row[1]]
images = len(work.indices)
early = next(row for row in done if row[1] >= images / 10)
end = next(row[0] for row in done if row[1] == images)
print(json.dumps({
    "images": images, "plan": planned, "first": done[0][0], "collected": end,
    "rate": (images - early[1]) / (end - early[0]), "all": time.time() - began,
    "digest": run.info["tables_digest"],
}))
"""


def _timed(command: list[str], threads: int) -> dict[str, Any]:
    """What a way says of itself, with the processor seconds of all its processes."""
    with subprocess.Popen(
        command,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as work:
        spent: dict[int, float] = {}
        while work.poll() is None:
            spent |= _spent(work.pid)
            time.sleep(0.5)
        assert work.stdout is not None and work.returncode == 0
        said: dict[str, Any] = json.loads(work.stdout.read().splitlines()[-1])
    return {**said, "processor": sum(spent.values())}


def _spent(root: int) -> dict[int, float]:
    """Processor seconds of a process and all below it, so far."""
    parent, used = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            cells = stat.read_text().rpartition(") ")[2].split()
            pid = int(stat.parent.name)
            parent[pid], ticks = int(cells[1]), int(cells[11]) + int(cells[12])
            used[pid] = ticks / os.sysconf("SC_CLK_TCK")

    def below(pid: int) -> bool:
        while pid in parent and pid != root:
            pid = parent[pid]
        return pid == root

    return {pid: seconds for pid, seconds in used.items() if below(pid)}


def measure(dataset: str = "rooms", model: str = "rooms") -> Answer:
    """Time every way of making the run, in turns."""
    many = cores()
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
                command = [sys.executable, "-c", CODE, dataset, model, folder, str(workers)]
                told[name].append(_timed(command, threads))
    rows = []
    for name, held in told.items():
        row: dict[str, Any] = {"way": name, "images": held[0]["images"]}
        for key in ("plan", "first", "rate", "all", "processor"):
            values = [one[key] for one in held]
            row[key] = round(statistics.median(values), 2)
            row[f"{key}_range"] = [round(min(values), 2), round(max(values), 2)]
        row["digests"] = sorted({one["digest"] for one in held})
        rows.append(row)
    lines = [f"{'':34} {'first photos':>14} {'photos/s':>16} {'all of it':>18} {'processor':>18}"]
    for row in rows:
        first, rate, whole, processor = (
            f"{row[key]:.1f} ({row[f'{key}_range'][0]:.1f}–{row[f'{key}_range'][1]:.1f})"
            for key in ("first", "rate", "all", "processor")
        )
        lines.append(f"{row['way']:34} {first:>14} {rate:>16} {whole:>18} {processor:>18}")
    same = len({digest for row in rows for digest in row["digests"]}) == 1
    lines.append(
        f"{rows[0]['images']:,} photos; median of {TURNS} (range), seconds; tables "
        + ("equal in all" if same else "DIFFER")
    )
    return {"ways": rows, "equal": same, "load": os.getloadavg()}, "\n".join(lines)
