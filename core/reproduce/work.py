"""One running reproduction: what it was asked for, and its runs, embeddings and kept results."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.foundation.errors import UnitscopeError
from core.foundation.files import parse_json, write_text
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Report, Stop, Stopped, never, silent
from core.foundation.settings import CACHE, Retraining, Settings
from core.foundation.versions import versions_of
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.reproduce import profiles
from core.reproduce.check import Checked, check
from core.reproduce.profiles import (
    Part,
    Profile,
    Retrainings,
)
from core.runs.run_file import Run, derived

if TYPE_CHECKING:
    from core.dissect.plan import Plan
    from core.merging.embed import Subgraph
    from core.merging.fuse import Space

DECIDING = (
    "signatures",
    "merging",
    "core concepts",
    "explanation",
    "ablation",
    "replay",
    "tables",
)
"""Computations that decide a table or a curve of a finished run."""


@dataclass
class Work:
    """A profile on given data, with where its results are kept and whom to tell.

    Attributes
    ----------
    root : folder of the runs. say : called with a line at a time. progress : called as
    :mod:`core.foundation.progress` says.
    stop : asked again and again; where it says True, the work raises a ``Stopped``.
    small : made for a try only (:func:`core.reproduce.profiles.quick`).
    seeds : of re-trainings, instead of the profile's. called : how the profile was named.
    """

    profile: Profile
    data: Path
    keys: list[str]
    root: Path = CACHE
    say: Callable[[str], object] = silent
    progress: Report | None = None
    stop: Stop = never
    small: bool = False
    seeds: int | None = None
    called: str = ""
    _runs: dict[str, Run] = field(default_factory=dict)
    _plans: dict[str, Plan] = field(default_factory=dict)
    _spaces: dict[str, Space] = field(default_factory=dict)
    _around: dict[str, Subgraph] = field(default_factory=dict)

    @cached_property
    def checked(self) -> Checked:
        """What is there."""
        return check(self.profile, self.data, self.keys)

    @cached_property
    def graph(self) -> Graph:
        """The knowledge graph."""
        return open_knowledge(self.spec(self.profile.knowledge[0]))

    @property
    def makeable(self) -> list[str]:
        """Parts that can be made, at least in part."""
        return [key for key in self.keys if key not in self.checked.left_out]

    def spec(self, text: str) -> str:
        """A SPEC of the profile, filled in."""
        return profiles.filled(text, self.data, self.checked.specs)

    def part(self, key: str) -> Part:
        """What a table or figure is made from."""
        one = self.profile.parts[key]
        if self.small:
            one = profiles.quick(one)
        if self.seeds is not None and isinstance(one, Retrainings):
            models = {n: (replace(a, seeds=self.seeds), k) for n, (a, k) in one.models.items()}
            one = replace(one, models=models)
        return one

    def lacks(self, needs: Iterable[str]) -> str:
        """Why something with these needs cannot be made; empty where it can."""
        return "; ".join(self.checked.absent[n] for n in needs if n in self.checked.absent)

    def settings(self, key: str) -> Settings:
        """Of a run."""
        asked = self.profile.runs[key][0]
        return replace(
            asked,
            dataset=self.spec(asked.dataset),
            model=self.spec(asked.model),
            knowledge=self.spec(asked.knowledge),
        )

    def retraining(self, asked: Retraining) -> Retraining:
        """A re-training of the profile with its SPECs filled in."""
        return replace(
            asked,
            dataset=self.spec(asked.dataset),
            model=self.spec(asked.model),
            knowledge=self.spec(asked.knowledge),
        )

    def planned(self, key: str) -> Plan:
        """:func:`core.dissect.plan.plan` of a run."""
        from core.dissect.plan import plan as plan_run

        if key not in self._plans:
            self._plans[key] = plan_run(self.settings(key))
        return self._plans[key]

    def finished(self, key: str) -> Run | None:
        """A run, where it is finished."""
        if key not in self._runs:
            path = self.root / f"{self.planned(key).digest}.duckdb"
            if not path.is_file():
                return None
            self._runs[key] = Run(path)
        return self._runs[key]

    def run(self, key: str) -> Run:
        """A run: made, resumed, or read; what a kill left beside a finished one is removed."""
        from core.dissect.pipeline import execute

        run, work = self.finished(key), self.planned(key)
        if run is None or (self.root / f"{work.digest}.partial").exists():
            self.say(f"run {work.digest}: {work.settings.dataset} × {work.settings.model}")
            run = execute(work, self.root, progress=self.progress, stop=self.stop)
            self._runs[key] = run
        return run

    def space(self, key: str) -> Space:
        """:class:`core.merging.fuse.Space` of a run."""
        from core.merging.fuse import Space

        if key not in self._spaces:
            self._spaces[key] = Space(self.run(key), self.graph)
        return self._spaces[key]

    def concepts_around(self, key: str) -> Subgraph:
        """The graph around a dataset's concepts (:func:`core.merging.embed.subgraph`), before
        its run is there."""
        from core.knowledge.core_concepts import LEFT_OUT
        from core.merging.embed import subgraph

        if key not in self._around:
            concepts = self.planned(key).dataset.concepts
            names = [one.name for one in concepts if one.category not in LEFT_OUT]
            self._around[key] = subgraph(names, self.graph)
        return self._around[key]

    def where(self, run: Run, name: str, facts: Json) -> Path:
        """Where a result is kept beside its run."""
        facts = {**facts, "knowledge": self.graph.digest(), "versions": versions_of(*DECIDING)}
        return derived(run, f"reproduce-{name}", facts, "json")

    def kept(self, run: Run, name: str, facts: Json, make: Callable[[], Any]) -> Any:
        """Plain data that was made before from the same facts, or is made now and kept."""
        path = self.where(run, name, facts)
        if not path.is_file():
            if self.stop():
                raise stopped()
            write_text(path, json.dumps(make(), ensure_ascii=False, default=_plain))
        return parse_json(path.read_text(encoding="utf-8"))


def failure(err: Exception) -> str:
    """What went wrong, in one line. A ``Stopped`` is no failure: it is raised on."""
    if isinstance(err, Stopped):
        raise err
    result = " ".join(str(err).split())
    return result if isinstance(err, UnitscopeError) else f"{type(err).__name__}: {result[:300]}"


def _plain(value: Any) -> Any:
    return value.item()


def stopped() -> UnitscopeError:
    """The error that says the work was stopped and can be resumed."""
    return Stopped(STOPPED)
