"""Background jobs that outlive the page that started them: one command line, one process, one
folder.

A job is ``python -m core VERB …`` with a name, kept in ``<root>/jobs/<name>/``:

``job.json``  what was asked, by which process it is kept, how it ended; replaced whole
``log``       what the command said on standard error
``out``       what it said on standard output: with ``--json``, the answer in the last line
``stop``      there where somebody asked the job to stop

:func:`start` starts a small keeper (``python -m core.foundation.jobs ROOT NAME``) in a session of
its own, so that neither a reload nor the end of the app ends it. The keeper starts the command,
hands SIGTERM on to it, waits for it, and writes down how it ended. Whoever reads the folder later,
in whatever process, sees the same: a process is known by its number together with the time it was
born, so that a number given away again is not mistaken for it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import filelock

from core.foundation.errors import UnitscopeError
from core.foundation.files import write_text
from core.foundation.plain import Json
from core.foundation.progress import Heartbeat
from core.foundation.settings import ROOT, limits

ALIVE = ("starting", "running", "stopping")
"""States of a job that is still at work."""

PATIENCE = 60.0
"""Seconds after which a keeper that never said a word counts as failed."""


@dataclass(frozen=True)
class Job:
    """What is known of a job now.

    Attributes
    ----------
    name : of its folder; a run's digest for a run.
    arguments : after ``python -m core``.
    state : ``starting``, ``running``, ``stopping``, ``stopped`` (asked to, or killed: the same
        command resumes it), ``failed`` (`error` says why), ``finished``.
    started, ended : seconds since 1970; `ended` is None where nobody saw the end.
    status : exit status; −n for signal n.
    error : what went wrong, in one line; empty where nothing did.
    progress : the work's own progress file, as far as this start of it has written one.
    """

    name: str
    arguments: tuple[str, ...]
    state: str
    started: float
    ended: float | None
    status: int | None
    error: str
    progress: Heartbeat | None
    folder: Path

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self.state in ALIVE

    def log(self, lines: int = 200) -> str:
        """The last lines of what the command said on standard error."""
        return "\n".join(_tail(self.folder / "log").splitlines()[-lines:])

    def answer(self) -> Json:
        """The JSON object of a finished job that was started with ``--json``.

        Raises UnitscopeError where it is not finished or gave none.
        """
        lines = _tail(self.folder / "out", 2**22).splitlines()
        try:
            if self.state != "finished":
                raise ValueError
            record = json.loads(lines[-1])
            if not isinstance(record, dict):
                raise ValueError
        except (ValueError, IndexError, RecursionError):
            raise UnitscopeError(f"job {self.name} is {self.state} and has no answer") from None
        return record


def _tail(path: Path, size: int = 2**18) -> str:
    try:
        with path.open("rb") as f:
            f.seek(max(0, path.stat().st_size - size))
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, so that its number given to another one is not mistaken for it.

    Empty where it is gone (or over, and only not yet fetched by its parent).
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name, in brackets, may hold anything; state and birth come after it.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            return ""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if fields[0] in ("Z", "X") else f"{boot}:{fields[19]}"
    record = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split(None, 1)
    return "" if not record or record[0].startswith("Z") else record[-1].strip()


def _lives(pid: int, born: str) -> bool:
    """Whether a process is still there, and not another one of its number."""
    return bool(born) and _born(pid) == born


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def _folder(root: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UnitscopeError(f"{name!r} is no name for a job: letters, digits, '-', '_' and '.'")
    return root / "jobs" / name


def start(name: str, arguments: Sequence[str], root: Path, progress: str = "") -> Job:
    """Start ``python -m core ARGUMENTS`` as a job, or start a stopped one again.

    Parameters
    ----------
    arguments : a list, never a shell's line.
    root : folder of the runs; the job's own files go to ``jobs/`` below it.
    progress : the work's progress file, below `root`.

    Raises UnitscopeError where an argument holds the character NUL, a job of this name is at work,
    as many as the server's :class:`core.foundation.settings.Limits` allow are, or the disk is
    nearly full.
    """
    # With NumPy behind it, which the keeper need not wait for.
    from core.foundation.names import check_words

    check_words(arguments)
    folder = _folder(root, name)
    folder.mkdir(parents=True, exist_ok=True)
    most = limits()
    most.room(root)
    # The second lock is for all: two that are started at once count each other.
    with filelock.FileLock(folder / "lock"), filelock.FileLock(root / "jobs" / "lock"):
        before = watch(name, root)
        if before is not None and before.alive:
            raise UnitscopeError(
                f"job {name} is running already, since "
                f"{time.strftime('%H:%M:%S', time.localtime(before.started))}"
            )
        busy = [job for job in every(root) if job.alive]
        if len(busy) >= most.jobs:
            raise UnitscopeError(
                f"{len(busy)} jobs are running, and this server runs {most.jobs} at once (jobs): "
                "stop one, or wait"
            )
        (folder / "stop").unlink(missing_ok=True)
        for record in ("log", "out"):
            (folder / record).unlink(missing_ok=True)
        _Record(tuple(map(str, arguments)), time.time(), progress).write(folder)
        with (folder / "keeper").open("wb") as said:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "core.foundation.jobs", str(root.resolve()), name],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
    # Fetched when it ends, so that it does not stay behind as a zombie of the app.
    threading.Thread(target=keeper.wait, daemon=True).start()
    job = watch(name, root)
    assert job is not None
    return job


def watch(name: str, root: Path) -> Job | None:
    """A job as it is now; None where there is none of this name.

    A job whose file is damaged has failed, and its `error` says so.
    """
    folder = _folder(root, name)
    try:
        record = _Record.read(folder)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        error = f"its file {folder / 'job.json'} is damaged ({err}); it can be dismissed"
        return Job(name, (), "failed", 0.0, None, None, error, None, folder)
    status, error = record.status, ""
    asked = (folder / "stop").exists()
    if status is not None:
        state = "finished" if status == 0 else "stopped" if status in _STOPPED else "failed"
    elif record.keeper is None:
        # A start that lies in the future was written before the clock was set back.
        late = abs(time.time() - record.started) > PATIENCE
        state = "failed" if late else "stopping" if asked else "starting"
        if late:
            error = _last_words(_tail(folder / "keeper")) or "it never began"
    elif record.keeper_lives or record.child_lives:
        state = "stopping" if asked else "running"
    elif _answered(folder, record):
        # The keeper was killed; the work went on without it and gave its answer.
        state = "finished"
    else:
        state, error = "stopped", "it ended without a word: killed, or the machine went down"
    if state == "failed" and not error:
        error = _last_words(_tail(folder / "log")) or f"exit status {status}"
    elif state == "stopped" and status is not None and status < 0 and not asked:
        error = f"it was killed by {_signal_name(-status)}"
        if status == -signal.SIGKILL:
            error += ", often a sign that the memory did not suffice"
    return Job(
        name,
        record.arguments,
        state,
        record.started,
        record.ended,
        status,
        error,
        _progress(root, record),
        folder,
    )


@dataclass(frozen=True)
class _Record:
    """The file job.json: what was asked for, and the two processes that are at work on it.

    arguments, started, progress, status, ended : as of :class:`Job` and :func:`start`. keeper,
    child : process ids of the keeper and of the command. keeper_born, child_born : of
    :func:`_born`.
    """

    arguments: tuple[str, ...]
    started: float
    progress: str = ""
    status: int | None = None
    ended: float | None = None
    keeper: int | None = None
    keeper_born: str = ""
    child: int | None = None
    child_born: str = ""

    @classmethod
    def read(cls, folder: Path) -> _Record:
        """Raises OSError, or ValueError where the file is of another shape."""
        try:
            record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(record, dict) or not {"arguments", "started"} <= record.keys():
            raise ValueError("it is no job's")
        held = {f.name: record[f.name] for f in fields(cls) if record.get(f.name) is not None}
        for key, value in held.items():
            if not isinstance(value, _KINDS[key]):
                raise ValueError(f"its {key!r} is {type(value).__name__}")
        if not all(isinstance(one, str) for one in held["arguments"]):
            raise ValueError("its arguments are no texts")
        if not all(math.isfinite(held.get(key, 0)) for key in ("started", "ended")):
            raise ValueError("its times are no times")
        progress = Path(held.get("progress", ""))
        if progress.is_absolute() or ".." in progress.parts:
            raise ValueError("its progress file lies elsewhere")
        return cls(**{**held, "arguments": tuple(held["arguments"])})

    def write(self, folder: Path) -> None:
        """Write it, whole, without what is not known yet."""
        known = {key: value for key, value in asdict(self).items() if value is not None}
        write_text(folder / "job.json", json.dumps(known))

    @property
    def keeper_lives(self) -> bool:
        """Whether the keeper is still there."""
        return self.keeper is not None and _lives(self.keeper, self.keeper_born)

    @property
    def child_lives(self) -> bool:
        """Whether the command is still there."""
        return self.child is not None and _lives(self.child, self.child_born)


_NUMBER = (int, float)
_KINDS: dict[str, type | tuple[type, ...]] = {
    "arguments": list,
    "started": _NUMBER,
    "progress": str,
    "status": int,
    "ended": _NUMBER,
    "keeper": int,
    "keeper_born": str,
    "child": int,
    "child_born": str,
}


def _answered(folder: Path, record: _Record) -> bool:
    """Whether a command that was asked for JSON printed its answer, which it does last."""
    if "--json" not in record.arguments:
        return False
    try:
        answer = json.loads((_tail(folder / "out", 2**22).splitlines() or [""])[-1])
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and "error" not in answer


_STOPPED = (130, -signal.SIGTERM, -signal.SIGINT, -signal.SIGKILL, -signal.SIGHUP)
"""Exit statuses of work that can be resumed: stopped cleanly (130), or ended from outside."""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_words(log: str) -> str:
    """The last line that says what went wrong: ``error: …``, or else the last line at all.

    >>> _last_words("reading\\nerror: there is no folder x\\n")
    'there is no folder x'
    >>> _last_words("Traceback:\\nModuleNotFoundError: No module named 'a'\\n")
    "ModuleNotFoundError: No module named 'a'"
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith("error: "):
            return line.removeprefix("error: ")
    return lines[-1] if lines else ""


def _progress(root: Path, record: _Record) -> Heartbeat | None:
    if not record.progress:
        return None
    path = root / record.progress
    try:
        # What an earlier start left says nothing of this one.
        if path.stat().st_mtime < record.started:
            return None
    except OSError:
        return None
    return Heartbeat.read(path)


def every(root: Path) -> list[Job]:
    """All jobs under `root`, the one started last first."""
    names = [path.parent.name for path in (root / "jobs").glob("*/job.json")]
    names = [name for name in names if _NAME.fullmatch(name)]
    found = [job for job in (watch(name, root) for name in names) if job is not None]
    return sorted(found, key=lambda job: job.started, reverse=True)


def cancel(name: str, root: Path, at_once: bool = False) -> None:
    """Ask a job to stop. It ends at its next safe point and can be resumed.

    at_once : kill it instead; what it had saved by then is kept.

    Raises UnitscopeError where it is not at work.
    """
    job = watch(name, root)
    if job is None or not job.alive:
        raise UnitscopeError(f"job {name} is not running" if job else f"there is no job {name}")
    (job.folder / "stop").touch()
    record = _Record.read(job.folder)
    # The keeper passes SIGTERM on; where it is gone, or there is no time, the work gets it.
    living = [
        pid
        for pid, lives in ((record.keeper, record.keeper_lives), (record.child, record.child_lives))
        if pid is not None and lives and not (at_once and pid == record.keeper)
    ]
    for pid in living:
        try:
            os.kill(pid, signal.SIGKILL if at_once else signal.SIGTERM)
        except ProcessLookupError:
            continue
        return


def forget(name: str, root: Path) -> None:
    """Remove what is kept of a job that is not at work; what it made stays."""
    job = watch(name, root)
    if job is None:
        return
    if job.alive:
        raise UnitscopeError(f"job {name} is running; stop it first")
    shutil.rmtree(job.folder)


# -- the keeper ------------------------------------------------------------------------------


def _keep(root: Path, name: str) -> None:
    """Run the command of a job to its end, and write down how it ended."""
    folder = _folder(root, name)
    record = _Record.read(folder)
    child: subprocess.Popen[bytes] | None = None

    def hand_on(*_: object) -> None:
        (folder / "stop").touch()
        if child is not None and child.returncode is None:
            child.send_signal(signal.SIGTERM)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, hand_on)
    record = replace(record, keeper=os.getpid(), keeper_born=_born(os.getpid()))
    record.write(folder)
    # The app and whatever else runs here go first.
    os.nice(5)
    if not (folder / "stop").exists():
        with (folder / "log").open("wb") as log, (folder / "out").open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "core", *record.arguments],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )
        record = replace(record, child=child.pid, child_born=_born(child.pid))
        record.write(folder)
        if (folder / "stop").exists():
            hand_on()
        status = child.wait()
    else:
        status = 130
    replace(record, status=status, ended=time.time()).write(folder)


if __name__ == "__main__":
    _keep(Path(sys.argv[1]), sys.argv[2])
