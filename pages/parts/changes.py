"""Everything that a page starts, stops, keeps or deletes, for owners alone.

Pages call these and never the engine's own functions (tests/pages/test_access.py sees to it). Each
asks :func:`pages.parts.access.require_owner` first, which also writes the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from core.foundation import jobs
from core.foundation.roots import check_path, check_spec
from core.foundation.settings import limits
from core.foundation.trust import check_named
from core.runs import notes, run_names, store
from core.runs import unit_sets as named_sets
from core.runs.run_file import Run
from core.views import dropped
from core.views import work as starting
from core.views.runs import cache_root
from pages.parts import cache
from pages.parts.access import readable_roots, require_owner

if TYPE_CHECKING:
    from core.knowledge.graph import Graph

SPECS = ("--dataset", "--model", "--knowledge")
FILES = ("--scenes", "--overrides")
FORM = "this form"
"""What names files and code here, as a person knows it."""


def check_named_files(arguments: Sequence[str]) -> None:
    """Refuse a command line that names files outside the server's roots, or code to import.

    It was filled in by an address, a run file or a person, and nobody can tell which: so a
    ``python:`` SPEC is looked at as one that a file names.
    """
    roots = readable_roots()
    for word, following in pairwise([*arguments, ""]):
        # As the command line reads options: cut short, and with `=`.
        option, _, own = word.partition("=")
        value = own or following
        if _may_be(option, FILES) and roots is not None:
            check_path(value, roots, FORM)
        if not _may_be(option, SPECS):
            continue
        check_named(value, FORM)
        if roots is not None:
            check_spec(value, roots, FORM)


def _may_be(option: str, of: Sequence[str]) -> bool:
    return len(option) > 2 and any(one.startswith(option) for one in of)


def start_run(asked: Sequence[str], digest: str, root: Path) -> jobs.Job:
    """:func:`core.views.work.start_run`."""
    check_named_files(asked)
    require_owner("start run", run=digest, arguments=list(asked))
    return starting.start_run(list(asked), digest, root)


def start_check(asked: Sequence[str], root: Path) -> jobs.Job:
    """:func:`core.views.work.start_check`."""
    check_named_files(asked)
    require_owner("check a run", arguments=list(asked))
    return starting.start_check(list(asked), root)


def start_training(arguments: Sequence[str], root: Path) -> jobs.Job:
    """:func:`core.views.retrain.start`."""
    from core.views import retrain

    check_named_files(arguments)
    require_owner("start training", arguments=list(arguments))
    return retrain.start(arguments, root)


def start_measuring(arguments: Sequence[str], root: Path) -> jobs.Job:
    """:func:`core.views.reliance.start`."""
    from core.views import reliance

    check_named_files(arguments)
    require_owner("measure effects", arguments=list(arguments))
    return reliance.start(arguments, root)


def stop(name: str, root: Path, at_once: bool = False) -> None:
    """:func:`core.foundation.jobs.cancel`."""
    require_owner("end job at once" if at_once else "stop job", job=name)
    jobs.cancel(name, root, at_once)


def dismiss(name: str, root: Path) -> None:
    """:func:`core.foundation.jobs.forget`."""
    require_owner("dismiss job", job=name)
    jobs.forget(name, root)


def discard(name: str, root: Path, job: str = "") -> None:
    """:func:`core.views.work.discard`."""
    require_owner("discard unfinished work", run=name, job=job)
    starting.discard(name, root, job)


def delete(path: Path) -> None:
    """Close a finished run and remove it: :func:`core.runs.store.delete_run`."""
    require_owner("delete run", run=path.stem)
    cache.forget(path)
    store.delete_run(path)


def save_set(run: Run, layer: str, name: str, units: Sequence[int], why: str = "") -> None:
    """:func:`core.runs.unit_sets.save_set`."""
    require_owner("save set", run=run.digest, layer=layer, name=name, units=list(units))
    named_sets.save_set(run, layer, name, units, why)


def delete_set(run: Run, layer: str, name: str) -> tuple[list[int], str]:
    """:func:`core.runs.unit_sets.delete_set`."""
    require_owner("delete set", run=run.digest, layer=layer, name=name)
    return named_sets.delete_set(run, layer, name)


def drop_zip(name: str, data: bytes) -> Path:
    """:func:`core.views.dropped.keep_zip`, within the quotas."""
    require_owner("drop zip", name=name, bytes=len(data))
    return dropped.keep_zip(name, data, cache_root(), limits())


def drop_files(files: Mapping[str, bytes]) -> Path:
    """:func:`core.views.dropped.keep_files`, within the quotas."""
    require_owner("drop folder", files=len(files), bytes=sum(map(len, files.values())))
    return dropped.keep_files(files, cache_root(), limits())


def delete_dropped(name: str) -> None:
    """:func:`core.views.dropped.delete`."""
    require_owner("delete dropped data set", name=name)
    dropped.delete(name, cache_root())


def mark(run: Run, thing: notes.Thing, marks: notes.Marks) -> None:
    """:func:`core.runs.notes.mark`."""
    require_owner(f"mark {thing.kind}", run=run.digest, layer=thing.layer, key=thing.key)
    notes.mark(run, thing, marks)


def save_filter(run: Run, page: str, name: str, choice: Mapping[str, str]) -> None:
    """:func:`core.runs.notes.save_filter`."""
    require_owner("save filter", run=run.digest, page=page, name=name)
    notes.save_filter(run, page, name, choice)


def delete_filter(run: Run, page: str, name: str) -> None:
    """:func:`core.runs.notes.delete_filter`."""
    require_owner("delete filter", run=run.digest, page=page, name=name)
    notes.delete_filter(run, page, name)


def name_run(path: Path, name: str) -> None:
    """:func:`core.runs.run_names.name_run`."""
    require_owner("name run", run=path.stem, name=name)
    run_names.name_run(path.parent, path.stem, name)


def pin_run(path: Path, pinned: bool = True) -> None:
    """:func:`core.runs.run_names.pin_run`; none is pinned any more where `pinned` is false."""
    require_owner("pin run" if pinned else "unpin run", run=path.stem)
    run_names.pin_run(path.parent, path.stem if pinned else "")


def keep_names(run: Run, graph: Graph, content: bytes) -> str:
    """:func:`core.views.knowledge.keep_names`, within the quotas."""
    from core.views import knowledge

    most = limits()
    most.size("the file", content, most.names_mb)
    most.room(run.path.parent)
    require_owner("keep corrected names", run=run.digest, bytes=len(content))
    word: str = knowledge.keep_names(run, graph, content, most.names_files)
    return word
