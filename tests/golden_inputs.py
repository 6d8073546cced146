"""What golden computations share: small fixed input, made where it is first asked for."""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from tests import tiny_reproduce


def picture(width: int, height: int) -> np.ndarray:
    """uint8 (height, width, 3), smooth colours."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x // width, 255 * y // height, (x * y) % 251], -1).astype(np.uint8)


class Inputs:
    """Small fixed input, made where it is first asked for: drawn photos, a run, facts, …"""

    def __init__(self, root: Path):
        self.root = root
        self.data = tiny_reproduce.write(root / "data", 60)

    def folder(self, name: str) -> Path:
        """A new empty folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.root))

    @property
    def photos(self) -> str:
        """SPEC of 60 photos of 40×32 pixels with masks of objects and parts."""
        return f"folder:{self.data / 'photos'}"

    @property
    def knowledge(self) -> str:
        """SPEC of facts about what they show."""
        return f"triples:{self.data / 'facts.tsv'}"

    def dissected(self, model: str, **settings: Any) -> Any:
        """A finished run of a network on the photos, its arrays in float32."""
        from core.dissect.pipeline import execute
        from core.dissect.plan import plan
        from core.foundation.settings import Settings

        asked = Settings(self.photos, model, q=0.05, map_type="float32", **settings)
        return execute(plan(asked), self.root / "runs", threads=1)

    @cached_property
    def run(self) -> Any:
        """Two layers of :class:`tests.golden.Exact`, with its untrained twin."""
        return self.dissected(
            "python:tests.golden:exact",
            layers=("body.1", "body.3"),
            shuffles=19,
            knowledge=self.knowledge,
        )

    @cached_property
    def graph(self) -> Any:
        from core.knowledge.kinds import open_knowledge

        return open_knowledge(self.knowledge)

    @cached_property
    def cores(self) -> Any:
        """Core concepts by kind."""
        from core.paper.tables import all_core_concepts

        return all_core_concepts(self.run, self.graph)

    @cached_property
    def toggler(self) -> Any:
        from core.ablation.toggler import prepare

        return prepare(self.run, "body.3")

    @cached_property
    def study(self) -> Any:
        from core.ablation.protocols import Study

        return Study.of(self.toggler, self.graph)

    @cached_property
    def space(self) -> Any:
        from core.merging.fuse import Space

        return Space(self.run, self.graph)

    @cached_property
    def vectors(self) -> Any:
        """Drawn vectors of the run's concepts, as an embedding would give them."""
        from core.merging.fuse import Vectors

        rng = np.random.default_rng(11)
        rows = rng.integers(-9, 10, (len(self.space.labels), 6)).astype(float)
        rows /= np.sqrt((rows**2).sum(1, keepdims=True))
        return Vectors("drawn", rows, np.ones(len(rows), bool))

    @cached_property
    def svm(self) -> Any:
        from core.retrain.svm import SvmSettings, retrain_pe

        picks = [("metrics",), ("hidden",), ("metrics", "mrr", "hidden")]
        cores = {kind: self.cores[kind] for kind in ("scc", "top10")}
        asked = SvmSettings(per_unit=2, chance=1.0, groups=picks)
        return retrain_pe(self.run, cores, asked, self.folder("svm"))
