"""Measured effects that are made up: what is relied on, and by how much, is known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from core.attribution.measured import Asked, Measured
from core.knowledge.core_concepts import CoreConcepts

SCENES = ["attic", "barn", "cellar"]
CONCEPTS = ["bed", "lamp", "cow", "hay", "wine"]


def made(
    each: int = 20,
    pulls: Mapping[tuple[str, str], float] | None = None,
    noise: float = 0.3,
    seed: int = 0,
    shown: float = 0.7,
) -> Measured:
    """Three scenes × `each` photos; each concept is shown in a share of the photos.

    pulls : (concept, scene) → by how much taking the concept away lowers the scene's logit.
    Answers follow the logits, which hold the pulls of what is shown.
    """
    rng = np.random.default_rng(seed)
    n, classes = each * len(SCENES), len(SCENES)
    target = np.repeat(np.arange(classes), each)
    has = rng.random((n, len(CONCEPTS))) < shown
    has[~has.any(1), 0] = True
    pull = np.zeros((len(CONCEPTS), classes))
    for (concept, scene), value in (pulls or {}).items():
        pull[CONCEPTS.index(concept), SCENES.index(scene)] = value
    before = rng.normal(0, noise, (n, classes)) + 2 * np.eye(classes)[target]
    before = (before + has @ pull).astype(np.float32)
    photo, concept = np.nonzero(has)
    here = before[photo]
    after = here[:, None] - pull[concept][:, None]
    after = after + rng.normal(0, noise, (len(photo), 2, classes))
    control = here + rng.normal(0, noise, here.shape)
    order = np.argsort(-before, 1)
    predicted = order[:, 0]
    against = np.where(predicted == target, order[:, 1], target)
    at = np.arange(len(photo))
    said = pull[concept]
    mine = said[at, target[photo]]
    evidence = np.stack(
        [
            said[at, predicted[photo]] - said[at, against[photo]],
            mine - (said.sum(1) - mine) / (classes - 1),
        ],
        1,
    )
    images = pd.DataFrame(
        {
            "image": np.arange(n),
            "id": [f"{k:03}" for k in range(n)],
            "split": "test",
            "scene": [SCENES[k] for k in target],
            "target": target,
            "predicted": predicted,
            "against": against,
        }
    )
    rows = pd.DataFrame(
        {
            "photo": photo,
            "concept": concept + 1,
            "name": [CONCEPTS[c] for c in concept],
            "category": "object",
            "area": rng.uniform(0.02, 0.3, len(photo)),
        }
    )
    return Measured(
        Asked(splits=("test",)),
        images,
        rows,
        before,
        after.astype(np.float32),
        control.astype(np.float32),
        evidence.astype(np.float32),
        0,
    )


def core_of(members: Mapping[str, tuple[str, ...]]) -> CoreConcepts:
    """Core concepts of the three scenes, by name."""
    table = np.array([[c in members.get(s, ()) for c in CONCEPTS] for s in SCENES])
    return CoreConcepts(
        "scc",
        SCENES,
        CONCEPTS,
        ["object"] * len(CONCEPTS),
        table,
        table.astype(float),
        [{} for _ in SCENES],
    )
