"""A pure function over many items in the worker processes of Ray, here or on a cluster.

``with Workers("module:function", given) as crew`` starts workers. In each, ``function(given)`` is
called once and returns what does an item, ``do(item, progress, stop)``: a network is opened once a
worker, not once an item. :meth:`Workers.each` hands out items and yields their answers as they
come. What an item makes goes to files; its answer is a path, a digest, some figures, never an
array, so that Ray's store in memory stays empty.

An item that its worker did not survive is given to another: `do` resumes what files it left, and
gives the same bytes whoever calls it. Ray Core alone is used: no data sets of Ray, no dashboard.

The cluster is that of RAY_ADDRESS. Where the environment has none, Ray is started on this machine
for as long as the workers live, behind a secret of its own: whoever else is logged in here cannot
hand it work.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from core.foundation.errors import UnitscopeError, first_line
from core.foundation.optional import optional
from core.foundation.plain import Keywords
from core.foundation.progress import EVERY, STOPPED, Meter, Progress, Report, Stop, Stopped, silent
from core.foundation.settings import ROOT
from core.foundation.trust import ALLOW

ENGINES = {
    "here": "in this process",
    "ray": "in worker processes of Ray, on this machine or on the cluster of RAY_ADDRESS",
}
"""What long work may be done by."""


def engines() -> list[str]:
    """Names of :data:`ENGINES` that can be used here."""
    return [name for name in ENGINES if name == "here" or find_spec(name) is not None]


def machine() -> str:
    """The name of this machine."""
    import socket  # here, as `secrets` below: every call of the command line imports this module

    return socket.gethostname()


STORE = 80 << 20
"""Bytes of Ray's store in memory, about the least it takes: nothing of ours lies there."""

TRIES = 4
"""Workers that an item may cost before the work is given up."""

LARGEST = 1 << 16
"""Bytes of an answer."""

PATIENCE = 60.0
"""Seconds for which workers that were asked to stop may go on to their next safe point."""

UNPLACED = 60.0
"""Seconds without any worker after which it is said what the cluster has."""

SHARED = "/dev/shm"
"""Where Ray keeps its store where there is such a folder."""

Do = Callable[[Any, Report, Stop], Any]
"""What a worker does with an item."""


class Item(NamedTuple):
    """One piece of work. given : plain data. size : in what progress counts. name : in words."""

    given: Any
    size: int
    name: str


def cores() -> int:
    """Cores that this process may use."""
    with suppress(AttributeError):  # macOS and Windows have no such call
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def torch_threads_asked() -> int | None:
    """What OMP_NUM_THREADS asks for; None where it does not.

    Sums of floats are split among threads, so workers get the number that one process would have.
    """
    word = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(word) if word.isdigit() and int(word) else None


class Workers:
    """Worker processes, and who has which item.

    Parameters
    ----------
    opens : ``"module:function"`` of this checkout, called once a worker with `given`.
    given : plain data.
    count : how many; None for as many as fit. More than fit are not made, which `tell` says.
    threads : cores a worker gets: PyTorch, NumPy and Numba compute on `numeric` of them.
    numeric : None takes OMP_NUM_THREADS, or `threads`.
    gpu : each has a GPU of its own.
    tell : called with sentences that a person should read.

    Raises UnitscopeError where Ray is missing, or no worker fits.
    """

    def __init__(
        self,
        opens: str,
        given: Mapping[str, object],
        *,
        count: int | None = None,
        threads: int = 1,
        numeric: int | None = None,
        gpu: bool = False,
        tell: Callable[[str], object] = silent,
    ):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._local = not os.environ.get("RAY_ADDRESS")
        # Ray reads this while it is imported: a program that did so before has its own way.
        if self._local and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
            import secrets

            os.environ["RAY_AUTH_MODE"] = "token"
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        self._ray: Any = optional("ray", "workers (--engine ray)")
        self._opens, self._given, self._tell = opens, dict(given), tell
        self._asked, self._threads, self._gpu = count, threads, gpu
        self._numeric = numeric or torch_threads_asked() or threads
        self._hands: list[_Hand] = []
        self._own = False
        self._failed = 0
        self.count = 0
        self._new: Callable[[], Any]

    def __enter__(self) -> Workers:
        ray = self._ray
        if not ray.is_initialized():
            self._start()
        try:
            self.count = self._fit()
            cls: Any = ray.remote(
                num_cpus=self._threads,
                num_gpus=int(self._gpu),
                concurrency_groups={"watch": 1},
                runtime_env={"env_vars": self._environment()},
            )(_Worker)
            self._new = lambda: cls.remote(self._opens, self._given)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._end()

    def _start(self) -> None:
        """Connect with the cluster, or start Ray here."""
        ray = self._ray
        how: Keywords = {"address": os.environ.get("RAY_ADDRESS")}
        if self._local:
            for note in small_store():
                self._tell(note)
            how = {
                "address": "local",
                "num_cpus": max(cores(), self._threads),
                "include_dashboard": False,
                "object_store_memory": STORE,
            }
        # Ray puts a handler in the place of whoever asks for a clean stop.
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        try:
            ray.init(log_to_driver=False, logging_level="ERROR", **how)
        except Exception as err:  # Ray raises nearly anything here
            where = "on this machine" if self._local else f"at RAY_ADDRESS={how['address']}"
            raise UnitscopeError(f"Ray cannot be started {where}: {first_line(err)}") from err
        finally:
            if main and before is not None:
                signal.signal(signal.SIGTERM, before)
        self._own = True

    def _fit(self) -> int:
        """How many workers are made."""
        there = self._ray.cluster_resources()
        fit = int(there.get("CPU", 0) // self._threads)
        what = f"{int(there.get('CPU', 0))} cores for workers of {self._threads}"
        if self._gpu:
            fit = min(fit, int(there.get("GPU", 0)))
            what += f", {int(there.get('GPU', 0))} GPUs for workers of one each"
        if not fit:
            raise UnitscopeError(f"no worker fits: there are {what}")
        if self._asked and self._asked > fit:
            self._tell(f"{fit} workers, not {self._asked}: there are {what}")
        return min(self._asked or fit, fit)

    def _environment(self) -> dict[str, str]:
        """The environment of a worker, beside its machine's own."""
        path = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        threads = str(self._numeric)
        names = ("OMP", "OPENBLAS", "MKL")
        held = {f"{name}_NUM_THREADS": threads for name in names}
        held["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path))
        if ALLOW in os.environ:
            held[ALLOW] = os.environ[ALLOW]
        return held

    def _end(self) -> None:
        for hand in self._hands:
            with suppress(Exception):
                self._ray.kill(hand.actor)
        self._hands = []
        if self._own:
            self._ray.shutdown()

    def each(self, items: Sequence[Item], meter: Meter, stop: Stop) -> Iterator[tuple[Item, Any]]:
        """Every item with its answer, in the order in which they are done.

        meter : begun by the caller with the sum of sizes.

        Raises
        ------
        Stopped
            once workers came to a safe point, or after :data:`PATIENCE`.
        UnitscopeError
            what a worker raised as such; an item that :data:`TRIES` workers did not survive. Other
            exceptions of a worker are raised as they are.
        """
        waiting, tries, finished = deque(range(len(items))), [0] * len(items), 0
        until, began = 0.0, time.monotonic()
        while waiting or any(hand.item is not None for hand in self._hands):
            now = time.monotonic()
            if not until and stop():
                until = now + PATIENCE
                waiting.clear()
            if until and now > until:
                break
            self._staff(len(waiting))
            for hand in self._hands:
                if hand.free and waiting:
                    at = waiting.popleft()
                    hand.give(at, items[at].given)
                hand.watch(now, bool(until))
            if began and now > began + UNPLACED:
                if not any(hand.where for hand in self._hands):
                    self._tell(self._unplaced())
                began = 0.0
            refs = [ref for hand in self._hands for ref in hand.refs]
            done, _ = self._ray.wait(refs, timeout=EVERY) if refs else ([], [])
            for hand in list(self._hands):
                ended = self._look(hand, set(done), items, tries, waiting)
                if ended is not None:
                    at, answer = ended
                    finished += items[at].size
                    yield items[at], answer
            under_way = sum(
                min(hand.done, items[hand.item].size)
                for hand in self._hands
                if hand.item is not None
            )
            # A worker that died takes its part back; what was shown stays until it is passed.
            meter.step(max(0, finished + under_way - meter.done))
        if until:
            raise Stopped(STOPPED)

    def _staff(self, waiting: int) -> None:
        """As many workers as there is work for."""
        busy = sum(hand.item is not None for hand in self._hands)
        while len(self._hands) < min(self.count, busy + waiting):
            self._hands.append(_Hand(self._new()))

    def _look(
        self,
        hand: _Hand,
        done: set[Any],
        items: Sequence[Item],
        tries: list[int],
        waiting: deque[int],
    ) -> tuple[int, Any] | None:
        """Take in what a worker says: (place of its item, answer) where it has finished one."""
        ray, at = self._ray, hand.item
        try:
            if hand.looks in done:
                hand.done, hand.looks = ray.get(hand.looks), None
            if hand.ready in done:
                hand.where, hand.ready = ray.get(hand.ready), None
            if hand.task in done:
                kind, answer = ray.get(hand.task)
                hand.task = hand.item = None
                self._failed = 0
                if kind == "error":
                    raise UnitscopeError(answer)
                if kind == "done" and at is not None:
                    return at, answer
        except ray.exceptions.RayTaskError as err:
            raise (err.cause or err) from err
        except ray.exceptions.RayError as err:
            self._hands.remove(hand)
            with suppress(Exception):
                ray.kill(hand.actor)
            self._died(hand, first_line(err), items, tries, waiting)
        return None

    def _died(
        self,
        hand: _Hand,
        why: str,
        items: Sequence[Item],
        tries: list[int],
        waiting: deque[int],
    ) -> None:
        """What a worker had in hand goes to the next one."""
        who = f"worker {hand.where}" if hand.where else "a worker"
        if hand.item is None:
            self._failed += 1
            if self._failed >= TRIES * self.count:
                raise UnitscopeError(f"workers end before they begin: {why}")
            self._tell(f"{who} ended; another is started ({why})")
            return
        tries[hand.item] += 1
        name = items[hand.item].name
        if tries[hand.item] >= TRIES:
            raise UnitscopeError(
                f"{name}: {TRIES} workers, one after the other, ended over it, the last one "
                f"{hand.where}: {why}. Often the memory does not suffice: take fewer --workers"
            )
        self._tell(f"{who} ended over {name}; another one takes it up")
        waiting.appendleft(hand.item)

    def _unplaced(self) -> str:
        free = self._ray.available_resources()
        words = [f"{int(free.get(kind, 0))} {kind}s" for kind in ("CPU", "GPU")]
        return (
            f"no worker began within {UNPLACED:.0f} s; free on the cluster: {', '.join(words)}; "
            "waiting"
        )


@dataclass(eq=False)
class _Hand:
    """A worker as the one who hands out work sees it.

    ready, task, looks : answers that are awaited. item : what it has in hand. done : how far that
    is. where : machine and process, once it is there.
    """

    actor: Any
    ready: Any = None
    task: Any = None
    looks: Any = None
    item: int | None = None
    done: int = 0
    where: str = ""
    asked: float = 0.0

    def __post_init__(self) -> None:
        self.ready = self.actor.where.remote()

    @property
    def free(self) -> bool:
        """Whether it is there, with nothing in hand."""
        return bool(self.where) and self.item is None

    @property
    def refs(self) -> list[Any]:
        return [ref for ref in (self.ready, self.task, self.looks) if ref is not None]

    def give(self, item: int, given: Any) -> None:
        self.item, self.done, self.task = item, 0, self.actor.do.remote(given)

    def watch(self, now: float, stop: bool) -> None:
        """Ask how far it is, and whether it knows that it has to stop."""
        if self.item is not None and self.looks is None and now > self.asked + EVERY:
            self.asked = now
            self.looks = self.actor.look.options(concurrency_group="watch").remote(stop)


class _Worker:
    """The process: one item at a time, while a second thread says how far it is."""

    def __init__(self, opens: str, given: Mapping[str, object]):
        self._opens, self._given = opens, given
        self._do: Do | None = None
        self._done, self._stop = 0, False

    def where(self) -> str:
        return f"{os.getpid()} on {machine()}"

    def do(self, given: Any) -> tuple[str, Any]:
        """("done", answer), ("stopped", ""), ("error", what a person can act on)."""
        self._done = 0

        def moved(progress: Progress) -> None:
            self._done = progress.done

        try:
            if self._do is None:
                module, _, function = self._opens.partition(":")
                self._do = getattr(import_module(module), function)(self._given)
            answer = self._do(given, moved, lambda: self._stop)
        except Stopped:
            return "stopped", ""
        except UnitscopeError as err:
            return "error", str(err)
        if len(pickle.dumps(answer)) > LARGEST:
            raise ValueError(f"an answer of {self._opens} is no path and no figure, but data")
        return "done", answer

    def look(self, stop: bool) -> int:
        self._stop = stop
        return self._done


@dataclass(frozen=True)
class Crew:
    """Who makes something by workers.

    workers : how many; as many as fit where None. threads : cores of each; OMP_NUM_THREADS or 1
    where None. shards_at : where a run's shards are handed over where machines see no folder in
    common (:mod:`core.dissect.depot`). tell : is told, in sentences, of workers that died and the
    like.
    """

    workers: int | None = None
    threads: int | None = None
    shards_at: str | None = None
    tell: Callable[[str], object] = silent

    @property
    def cores(self) -> int:
        """Cores of a worker."""
        return max(self.threads or 1, torch_threads_asked() or 1)

    def at(
        self, opens: str, given: Mapping[str, object], items: int, device: str = "cpu"
    ) -> Workers:
        """The workers, no more than there are items. given : see :class:`Workers`; the folder that
        this process is in is added to it, for :func:`enter`."""
        return Workers(
            opens,
            {"cwd": str(Path.cwd()), **given},
            count=self.workers and min(self.workers, items),
            threads=self.cores,
            numeric=torch_threads_asked() or self.threads,
            gpu=not device.startswith("cpu"),
            tell=self.tell,
        )


def enter(given: Mapping[str, object]) -> None:
    """Go, in a worker, to the folder that the work was begun in: SPECs may name files by it.

    Raises UnitscopeError where there is none.
    """
    try:
        os.chdir(str(given["cwd"]))
    except OSError as err:
        raise UnitscopeError(
            f"{machine()} has no folder {given['cwd']}, where the run was begun: SPECs "
            "may name files by it"
        ) from err


def small_store() -> list[str]:
    """A note where /dev/shm is smaller than Ray's store, as it is in most containers."""
    try:
        free = shutil.disk_usage(SHARED).free
    except OSError:
        return []  # no such folder: Ray does without it there
    if free > STORE:
        return []
    return [
        f"{SHARED} has {free >> 20} MiB free, and Ray's store takes {STORE >> 20}: it lies in /tmp "
        "instead, which slows nothing down here, since workers answer with paths alone. In a "
        "container, --shm-size=256m makes room"
    ]
