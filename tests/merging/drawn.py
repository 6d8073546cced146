"""Vectors and groups drawn at random, and unions of masks counted slowly."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from core.knowledge.core_concepts import Annotated
from core.merging.fuse import (
    Vectors,
)


def drawn_vectors(rng, concepts, dim=3, unknown=0.0):
    rows = rng.normal(size=(concepts, dim))
    known = rng.random(concepts) >= unknown
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[~known] = 0
    return Vectors("drawn", rows, known)


def sets(groups):
    return sorted(map(sorted, ([int(c) for c in group] for group in groups)))


def annotated_of(names, categories=None, has=None, scene_of=None, scenes=("y",)):
    has = np.ones((2, len(names)), bool) if has is None else np.asarray(has, bool)
    return Annotated(
        list(scenes),
        list(names),
        list(categories or ["object"] * len(names)),
        np.zeros(len(has), np.int32) if scene_of is None else np.asarray(scene_of, np.int32),
        sparse.csr_array(has),
    )


def drawn_world(seed, scenes=3, concepts=7, images=20):
    rng = np.random.default_rng(seed)
    has = rng.random((images, concepts)) < rng.random(concepts)
    categories = ["color" if k == 2 else "object" for k in range(concepts)]
    annotated = annotated_of(
        [f"c{k}" for k in range(concepts)],
        categories,
        has,
        rng.integers(0, scenes, images),
        [f"y{k}" for k in range(scenes)],
    )
    return rng, annotated
