"""Kills, broken inputs and many visitors: what docs/reliability.md promises, tried at scale.

    python -m benchmarks.reliability kills  [--work run,embed,…] [--moments 300] [--most N]
                                            [--first N] [--log FILE]
    python -m benchmarks.reliability inputs [--inputs 10000] [--seed 0] [--readers folder,…]
                                            [--first N]
    python -m benchmarks.reliability load   [--sessions 50] [--seconds 600] [--images 20000]

``kills``: all long work is killed before every file operation below its folder (seen by Python's
audit hook) and at random moments, then asked for again: the result must be byte for byte that of
an undisturbed one, and nothing half-made may be listed meanwhile. With a log, each trial is a line
of it, and the same command goes on with those that are not there.

``inputs``: small good inputs of every reader, mutated (bits flipped, cut, spliced, numbers and
names exchanged), handed to the command line; strange parameters of the address of every page;
mutated uploads; strange values for the options of every verb. All in child processes, with 2 GB and
10 s of processor time each: a sentence or a result is right; a traceback, an unforeseen error,
a hang, a crash of the process, or a file written outside is wrong.

``load``: sessions that speak Streamlit's own protocol, each opening page after page of a drawn
run: errors, the 50th and 95th percentile of a page's time, memory.

Each prints a table and ends with status 1 where anything was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import importlib
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import broken_inputs, strange_visits
from benchmarks.trials import ROOT, Inputs, forked, verb

WRITES = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "shutil.rmtree",
)
"""Audit events, besides ``open`` for writing, before which work is killed."""


# -- kills ----------------------------------------------------------------------------------------


def _watch_files(root: Path, kill_at: int | None) -> list[int]:
    """Count the file operations below `root` from now on; die before operation `kill_at`."""
    count = [0]
    inside = str(root)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = given
            writing = (mode and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR)
            if not writing:
                return
        elif event in WRITES:
            path = given[0]
        else:
            return
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(inside):
            if kill_at is not None and count[0] == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(hook)
    return count


def files_digest(root: Path) -> dict[str, str]:
    """What each file below `root` holds; times, which no two makings share, are left out."""
    from core.runs.run_file import Run

    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = str(path.relative_to(root))
        if path.suffix in (".lock", ".log") or name.startswith("jobs/"):
            continue
        if path.suffix == ".duckdb":
            with Run(path) as run:
                found[name] = run.info["tables_digest"]
        elif path.suffix == ".pdf":
            found[name] = hashlib.sha256(_drawn(path.read_bytes())).hexdigest()
        else:
            data = path.read_bytes()
            if path.suffix == ".json":
                data = json.dumps(_timeless(json.loads(data)), sort_keys=True).encode()
            found[name] = hashlib.sha256(data.replace(str(root).encode(), b"ROOT")).hexdigest()
    return found


def _drawn(pdf: bytes) -> bytes:
    """What a PDF draws: its streams, sorted; vl-convert numbers a chart's fonts by chance."""
    if not pdf.rstrip().endswith(b"%%EOF"):
        return b"cut short"
    streams = []
    for found in re.finditer(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL):
        with contextlib.suppress(zlib.error):
            streams.append(re.sub(rb"/fo\d+", b"/fo", zlib.decompress(found[1])))
    return b"\n".join(sorted(streams))


def _timeless(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {
            k: _timeless(v)
            for k, v in facts.items()
            if k not in ("seconds", "finished", "time", "made", "pid", "changed")
        }
    return [_timeless(v) for v in facts] if isinstance(facts, list) else facts


class Works:
    """The long work there is, small: each is a function of a fresh folder."""

    def __init__(self, base: Path):
        self.base = base
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _archive_handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @cached_property
    def photos(self) -> Path:
        from tests import tiny

        return tiny.write_folder(self.base / "photos", 48)

    @cached_property
    def facts(self) -> Path:
        from tests import tiny_reproduce

        return tiny_reproduce.write(self.base / "reproduce", 36)

    @property
    def options(self) -> list[str]:
        from tests import tiny

        return ["--dataset", f"folder:{self.photos}", "--model", tiny.SPEC]

    @property
    def knowledge(self) -> list[str]:
        return ["--knowledge", f"triples:{self.facts / 'facts.tsv'}"]

    @cached_property
    def finished(self) -> Path:
        """The folder of a finished run."""
        root = self.base / "finished"
        counted = ["--q", "0.05", "--shuffles", "2"]
        forked(verb("run", *self.options, *counted, *self.knowledge, "--out", str(root)))
        return root

    def run(self, root: Path) -> Callable[[], None]:
        return verb(
            "run",
            *self.options,
            "--q",
            "0.05",
            "--shuffles",
            "2",
            "--shard",
            "32",
            "--out",
            str(root),
        )

    def embed(self, root: Path) -> Callable[[], None]:
        from core.merging import embed

        embed.SAVED_EVERY = 0.0  # after each epoch, as these are short
        self._with_run(root)
        return verb(
            "embed",
            "latest",
            *self.knowledge,
            "--embedding",
            "TransE",
            "--dim",
            "8",
            "--epochs",
            "6",
            "--out",
            str(root),
        )

    def retrain(self, root: Path) -> Callable[[], None]:
        return verb(
            "retrain",
            "cc",
            *self.options,
            *self.knowledge,
            "--seeds",
            "1",
            "--epochs",
            "2",
            "--lambda",
            "0.5",
            "--cc",
            "top10",
            "--out",
            str(root),
        )

    def svm(self, root: Path) -> Callable[[], None]:
        self._with_run(root)
        return verb("retrain", "pe", "latest", *self.knowledge, "--out", str(root))

    def annotate(self, root: Path) -> Callable[[], None]:
        from core.annotate.annotate import Asked, annotate
        from tests.annotate.test_annotate import colours

        photos = self.photos / "images"
        return lambda: annotate(photos, colours(), root / "made", Asked(threads=1)) and None

    def get(self, root: Path) -> Callable[[], None]:
        from core.downloads.catalog import Download
        from core.downloads.get import get

        os.environ["no_proxy"] = "127.0.0.1"
        address = f"http://127.0.0.1:{self.server.server_port}/"
        checksum = f"sha256:{hashlib.sha256(ARCHIVE).hexdigest()}"

        def entry(name: str, file: str, url: str) -> Download:
            return Download(
                name, "drawn", url, file, len(ARCHIVE), None, checksum, "", "", "placed"
            )

        local = self.base / "mirror"
        local.mkdir(exist_ok=True)
        (local / "copied.bin").write_bytes(ARCHIVE)

        def do() -> None:
            get(entry("packed", "packed.zip", f"{address}packed.zip"), root)
            get(entry("plain", "plain.bin", f"{address}plain.bin"), root)
            get(entry("copied", "copied.bin", ""), root, str(local))

        return do

    def reproduce(self, root: Path) -> Callable[[], None]:
        return verb(
            "reproduce",
            "--profile",
            "tests.tiny_reproduce:SMALL",
            "--data",
            str(self.facts),
            "--out",
            str(root),
            "--to",
            str(root / "report"),
        )

    def _with_run(self, root: Path) -> None:
        for path in self.finished.iterdir():
            if path.suffix in (".duckdb", ".arrays"):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, root / path.name)


def _packed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for k in range(6):
            file.writestr(f"top/{k}.bin", random.Random(k).randbytes(30_000))
    return out.getvalue()


ARCHIVE = _packed()


def _archive_handler() -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args: Any) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            start = int((self.headers.get("Range") or "bytes=0-")[6:].partition("-")[0])
            self.send_response(206 if start else 200)
            if start:
                self.send_header(
                    "Content-Range", f"bytes {start}-{len(ARCHIVE) - 1}/{len(ARCHIVE)}"
                )
            self.send_header("ETag", '"one"')
            self.send_header("Content-Length", str(len(ARCHIVE) - start))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(ARCHIVE[start:])

    return Handler


WORK = ("run", "embed", "retrain", "svm", "annotate", "get", "reproduce")


def kills(
    names: list[str], moments: int, most: int, first: int, seed: int, log: Path | None
) -> tuple[list[dict[str, Any]], int]:
    """Kill and go on; rows of the table, and how many went wrong.

    moments : kills at random moments, in all, shared out over the works. most : file operations of
    each work, drawn at random; 0 is all. first : number of the first file operation of each work
    (operations before it were tried elsewhere). log : see the module.
    """
    import core.cli
    import core.dissect.pipeline
    import core.merging.embed
    import core.reproduce.produce
    import core.retrain.training
    import tests.annotate.test_annotate  # noqa: F401  (imported once, before the forks)

    del core
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as base:
        works = Works(Path(base))
        share = -(-moments // len(names))
        for name in names:
            trials = Log(log, name)
            row = killed(getattr(works, name), Path(base) / name, share, most, first, seed, trials)
            rows.append({"work": name, **row})
            wrong += row["wrong"]
            print(_row(rows[-1]), flush=True)
    return rows, wrong


class Log:
    """What came of each trial of one work, by the name of the trial; kept in a file, if one is."""

    def __init__(self, path: Path | None, work: str):
        self.path, self.work = path, work
        self.known: dict[str, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                told = json.loads(line)
                if told["work"] == work:
                    self.known[told["trial"]] = told

    def add(self, trial: str, **told: Any) -> None:
        self.known[trial] = {"work": self.work, "trial": trial, **told}
        if self.path is not None:
            with self.path.open("a") as out:
                out.write(json.dumps(self.known[trial]) + "\n")


MOMENTS_TRIED = 6
"""Random moments of one trial, until one comes before the work's end."""


def killed(
    work: Callable[[Path], Callable[[], None]],
    base: Path,
    moments: int,
    most: int,
    first: int,
    seed: int,
    log: Log,
) -> dict[str, Any]:
    """Kill one work and go on, as :func:`kills` says.

    work : for a folder, what is done in it.
    """

    def fresh(tag: str) -> Path:
        root = base / tag
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        return root

    # All makings lie at one path, so that paths in files are equal.
    root = fresh("here")
    do = work(root)

    def imported() -> list[str]:
        do()
        return sorted(sys.modules)

    # What the work imports is imported here, once, and not in each of hundreds of children.
    for module in set(forked(imported)[1] or ()) - set(sys.modules):
        with contextlib.suppress(
            Exception, SystemExit
        ):  # some modules are made while others are imported
            importlib.import_module(module)
    root = fresh("here")
    do = work(root)

    def counted() -> int:
        count = _watch_files(root, None)
        do()
        return count[0]

    began = time.monotonic()
    status, operations = forked(counted)
    took = time.monotonic() - began
    if status:
        print(f"  undisturbed, it failed: {operations}")
        return {"operations": 0, "wrong": 1}
    want = files_digest(root)
    places = list(range(first, operations))
    if most and len(places) > most:
        places = sorted(random.Random(seed).sample(places, most))
    plans = [(f"operation {k}", k) for k in places] + [
        (f"moment {k}", None) for k in range(moments)
    ]
    for trial, at in plans:
        if trial in log.known:
            continue
        rng = random.Random(f"{seed}/{trial}")
        for _ in range(1 if at is not None else MOMENTS_TRIED):
            root = fresh("here")
            do = work(root)

            def dying(root: Path = root, at: int | None = at, do: Callable[[], None] = do) -> None:
                if at is not None:
                    _watch_files(root, at)
                do()

            after = None if at is not None else rng.uniform(0.0, took)
            status, _ = forked(dying, after=after)
            killed = status == -signal.SIGKILL
            if killed:
                break
        _, listed = forked(lambda root=root: _listed(root))
        status, said = forked(do)
        got = files_digest(root) if status == 0 else {}
        differ = [k for k in want.keys() | got.keys() if want.get(k) != got.get(k)][:4]
        equal = status == 0 and not differ
        log.add(trial, killed=killed, after=after, listed=listed is True, equal=equal)
        if not equal or listed is not True:
            where = trial if after is None else f"{trial} ({after:.2f} s)"
            print(f"  {base.name}: {where}: {said or differ} {listed}", flush=True)
    told = [log.known[trial] for trial, _ in plans]
    half = sum(not t["listed"] for t in told)
    unequal = sum(not t["equal"] for t in told)
    return {
        "operations": operations,
        "operations tried": len(places),
        "killed there": sum(t["killed"] for t in told[: len(places)]),
        "moments tried": moments,
        "killed then": sum(t["killed"] for t in told[len(places) :]),
        "equal": len(told) - unequal,
        "half listed": half,
        "wrong": half + unequal,
    }


def _listed(root: Path) -> bool:
    """Whether every run that is listed as finished opens and is whole."""
    from core.runs.run_file import Run
    from core.runs.store import list_runs

    for path in list_runs(root):
        with Run(path) as run:
            for layer in run.layer_names:
                run.array(f"pooled-{layer}")
    return True


# -- broken inputs --------------------------------------------------------------------------------


def inputs(count: int, seed: int, only: list[str], first: int) -> tuple[list[dict[str, Any]], int]:
    """Try `count` mutated inputs, spread over all kinds; the table, and how many were wrong.

    only : beginnings of the names of kinds. first : number of the first input of each kind.
    """
    with tempfile.TemporaryDirectory() as base:
        made = Inputs(Path(base), only)
        broken_inputs.add(made)
        strange_visits.add(made)
        names = list(made.trials)
        each = -(-count // len(names))
        rows, wrong = [], 0
        for name in names:
            outcome = Counter[str]()
            beside = _beside(made)
            for start in range(first, first + each, 40):
                part = range(start, min(start + 40, first + each))
                outcome += _batch(made, name, part, seed)
            if new := _beside(made) - beside:
                print(f"  {name}: written outside: {sorted(new)[:5]}", flush=True)
                outcome["wrote outside"] += len(new)
            bad = sum(n for kind, n in outcome.items() if kind not in ("read", "refused"))
            wrong += bad
            rows.append({"input": name, "tried": each, **outcome})
            print(_row(rows[-1]), flush=True)
    return rows, wrong


def _beside(made: Inputs) -> set[str]:
    """What lies where nothing may be written: the checkout, the home, and beside the trials."""
    mine = {"try", "made", "log", "run", "predicted", "folder.json"}
    return {
        *(str(p) for p in made.base.iterdir() if p.name not in mine),
        *(str(p) for p in ROOT.iterdir()),
        *(str(p) for p in Path.home().iterdir()),
    }


def _batch(made: Inputs, name: str, part: range, seed: int) -> Counter[str]:
    """Some inputs in one child; what a child that died was at is told, and the rest goes on."""
    found: Counter[str] = Counter()
    todo = list(part)
    while todo:
        log = made.base / "log"
        log.write_text("")
        status, said = forked(
            lambda todo=todo, log=log: _try(made, name, todo, seed, log), 120.0 + 60 * len(todo)
        )
        done = [line.split("\t") for line in log.read_text().split("\n") if line]
        for _, kind, *_ in done:
            found[kind] += 1
        if status == 0 or len(done) == len(todo):
            break
        print(f"  {name} #{todo[len(done)]}: the process ended with {status} ({said})", flush=True)
        found["crashed" if status != -signal.SIGKILL else "hung or too large"] += 1
        todo = todo[len(done) + 1 :]
    return found


SECONDS, MEMORY = 10.0, 2.0
"""Of processor time, so that other work beside does not count; GB that one input may add."""


def _try(made: Inputs, name: str, todo: list[int], seed: int, log: Path) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _late)
    for k in todo:
        rng = random.Random(f"{seed}/{name}/{k}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kind, text = "read", ""
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            status, text = made.trials[name](rng)
            if "Traceback" in text:
                kind = "traceback"
            elif status == 3:
                kind = "unforeseen"
            elif status == 130:
                kind = "slow"
            elif set(text) & {"\x1b", "\x9b", "\x07"}:
                kind = "escape sequence"
            elif status:
                kind = "refused"
        except KeyboardInterrupt:
            kind = "slow"
        except BaseException as err:
            kind, text = "raised", f"{type(err).__name__}: {err}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e6
        if grown > MEMORY:
            kind = "memory"
        if kind not in ("read", "refused"):
            last = (text.strip().splitlines() or [""])[-1][:900]
            print(f"  {name} #{k}: {kind}: {last!r}", flush=True)
        with log.open("a") as out:
            out.write(f"{k}\t{kind}\n")


def _late(*_: Any) -> None:
    raise KeyboardInterrupt


# -- load -----------------------------------------------------------------------------------------


PAGES = (
    "",
    "Scenes",
    "Units",
    "Units?unit={n}",
    "Concepts",
    "Explain",
    "Scenes?view=matrix",
    "Disable",
    "Compare",
    "Runs",
)


def load(sessions: int, seconds: float, images: int) -> tuple[list[dict[str, Any]], int]:
    """Sessions open pages for so many seconds; the table, and how many pages showed an error."""
    from benchmarks.app import _served
    from benchmarks.drawn_run import make

    run = make(images)
    process, host = _served(run.path.parent)
    try:
        memory = [_memory(process.pid)]
        told = asyncio.run(_visit(host, run.digest, sessions, seconds, process.pid, memory))
    finally:
        process.terminate()
        process.wait(20)
    times = sorted(t for t, _ in told)
    errors = [text for _, text in told if text]
    for text in dict.fromkeys(errors):
        print(f"  {text[:160]}")

    def at(share: float) -> float:
        return round(times[min(len(times) - 1, int(share * len(times)))], 2) if times else 0.0

    row = {
        "sessions": sessions,
        "seconds": seconds,
        "pages": len(told),
        "errors": len(errors),
        "p50 s": at(0.5),
        "p95 s": at(0.95),
        "max s": at(1.0),
        "MB at start": memory[0],
        "MB at most": max(memory),
        "MB at the end": memory[-1],
    }
    print(_row(row))
    return [row], len(errors)


def _memory(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) // 1000


async def _visit(
    host: str, run: str, sessions: int, seconds: float, pid: int, memory: list[int]
) -> list[tuple[float, str]]:
    end = time.monotonic() + seconds
    told: list[tuple[float, str]] = []

    async def watch() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(2)
            memory.append(_memory(pid))

    visitors = [_visitor(host, run, k, end, told) for k in range(sessions)]
    await asyncio.gather(watch(), *visitors)
    return told


async def _visitor(
    host: str, run: str, number: int, end: float, told: list[tuple[float, str]]
) -> None:
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    rng = random.Random(number)
    address = host.replace("http", "ws") + "/_stcore/stream"
    # Browsers send no pings of their own; a connection that ends is an error, and made again.
    async for socket in connect(
        address,
        subprotocols=["streamlit"],  # type: ignore[list-item]
        max_size=None,
        ping_interval=None,
    ):
        while time.monotonic() < end:
            page, _, query = rng.choice(PAGES).format(n=rng.randrange(512)).partition("?")
            ask = BackMsg()
            ask.rerun_script.query_string = f"{query}&run={run}".lstrip("&")
            ask.rerun_script.page_name = page
            began = time.monotonic()
            error, started = "", False
            try:
                await socket.send(ask.SerializeToString())
                while True:
                    message = ForwardMsg()
                    data = await asyncio.wait_for(socket.recv(), 120)
                    message.ParseFromString(data if isinstance(data, bytes) else data.encode())
                    kind = message.WhichOneof("type")
                    started |= kind == "new_session"
                    if kind == "delta" and message.delta.new_element.HasField("exception"):
                        error = f"{page}: {message.delta.new_element.exception.message}"
                    if kind == "script_finished" and started and message.script_finished == 0:
                        break
            except TimeoutError:
                error = f"{page}: no end in two minutes"
            except ConnectionClosed as err:
                error = f"{page}: the connection ended ({err})"
            told.append((time.monotonic() - began, error))
            if "connection ended" in error:
                break
            await asyncio.sleep(rng.uniform(0.5, 8.0))
        if time.monotonic() >= end:
            break


# -- the command line -----------------------------------------------------------------------------


def _row(row: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value}" for key, value in row.items())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    torch.set_num_threads(1)
    yield


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "inputs", "load"])
    parser.add_argument("--work", default=",".join(WORK))
    parser.add_argument("--moments", type=int, default=300, help="kills at random moments, in all")
    parser.add_argument("--most", type=int, default=0, help="file operations of each work; 0 = all")
    parser.add_argument("--log", type=Path, help="of kills: to go on where it was stopped")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--readers", default="", help="beginnings of the kinds of inputs")
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first of each kind or work"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--images", type=int, default=20_000)
    given = parser.parse_args()
    with _one_thread():
        if given.what == "kills":
            names = given.work.split(",")
            asked = (given.moments, given.most, given.first, given.seed, given.log)
            _, wrong = kills(names, *asked)
        elif given.what == "inputs":
            only = [name for name in given.readers.split(",") if name]
            _, wrong = inputs(given.inputs, given.seed, only, given.first)
        else:
            _, wrong = load(given.sessions, given.seconds, given.images)
    print(f"{wrong} wrong" if wrong else "nothing was wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
