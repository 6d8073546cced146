"""Matrices over the scenes of a run: contribution scores of units, core concepts with frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from core.foundation.vocabulary import Core, Sign
from core.runs.run_file import Run
from core.views.images import concepts as concepts_of
from core.views.knowledge import Known, facts_text
from core.views.names import shown_name
from core.views.units import unit_table

if TYPE_CHECKING:  # it brings PyTorch along
    from core.ablation.contribution import Contribution

MOST_SCENES = 40
"""Columns that can be read: of more scenes, those of most photos."""


def score_matrix(
    run: Run, found: Contribution, k: int, denominator: str = "all", most: int = MOST_SCENES
) -> pd.DataFrame:
    """Contribution scores (Eq. 9) of the k most positive and the k most negative units of every
    scene, for all of these scenes.

    Columns: unit, label (as people read it), scene, score, inside, outside, active, images (as in
    :class:`core.ablation.contribution.Contribution`), top (``positive`` or ``negative`` where the
    unit is among the k of the scene, else empty). Scenes without core concepts or without photos
    are left out, and beyond `most` those of the fewest photos. Units in :func:`blocks`.
    """
    rows = np.flatnonzero(found.has_core & (found.images > 0))
    rows = np.sort(rows[np.argsort(-found.images[rows], kind="stable")][:most])
    tops = {sign: found.orders(sign, k)[rows] for sign in Sign}
    units = np.unique(np.concatenate([order[order >= 0] for order in tops.values()]))
    top = np.full((len(rows), found.scores.shape[1]), "", object)
    for sign, order in tops.items():
        for at, chosen in enumerate(order):
            top[at, chosen[chosen >= 0]] = sign.value
    scores = found.scores[np.ix_(rows, units)]
    units = units[blocks(scores)]
    labels = unit_table(run, found.layer, denominator).set_index("unit")["label"]
    grid = np.ix_(rows, units)
    return pd.DataFrame(
        {
            "unit": np.tile(units, len(rows)),
            "label": np.tile(labels.reindex(units).to_numpy(), len(rows)),
            "scene": np.repeat([found.scenes[row] for row in rows], len(units)),
            "score": found.scores[grid].ravel(),
            "inside": found.inside[grid].ravel(),
            "outside": found.outside[grid].ravel(),
            "active": found.active[grid].ravel(),
            "images": np.repeat(found.images[rows], len(units)),
            "top": top[:, units].ravel(),
        }
    )


def blocks(values: np.ndarray) -> np.ndarray:
    """An order of the columns in which each stands with the row of its largest magnitude, so that
    the matrix is read along its diagonal: int64 (columns,).

    Among those of one row, from the highest value down, then by column.
    """
    if not values.size:
        return np.arange(values.shape[1])
    row = np.abs(values).argmax(0)
    columns = np.arange(values.shape[1])
    return np.lexsort((columns, -values[row, columns], row))


def concept_matrix(
    run: Run, known: Known, kind: str = "scc", most: int = MOST_SCENES
) -> pd.DataFrame:
    """Core concepts of one kind of every scene, a row each, with their frequency.

    Columns: concept (id), label (its name in an address), shown, category, scene, frequency (share
    of the scene's photos with the concept; its score in the orders by which Top 10 and ICC choose),
    images, related (by a fact, Eq. 1), facts (in words). Concepts in :func:`blocks`, scenes by
    name; beyond `most` scenes those of the fewest photos are left out.
    """
    core = known.core[Core.of(kind).value]
    sizes = known.annotated.sizes
    rows = np.flatnonzero(core.members.any(1) & (sizes > 0))
    rows = rows[np.argsort(-sizes[rows], kind="stable")][:most]
    rows = np.array(sorted(rows, key=lambda row: core.scenes[row]), int)
    columns = np.flatnonzero(core.members[rows].any(0))
    shares = np.where(core.members, core.frequency, 0)[np.ix_(rows, columns)]
    columns = columns[blocks(shares)]
    names = concepts_of(run).set_index("concept")
    found = []
    for c in columns.tolist():
        for row in rows[core.members[rows, c]].tolist():
            edges = known.related[row].get(c, [])
            found.append(
                {
                    "concept": c + 1,
                    "label": names["label"].get(c + 1, core.concepts[c]),
                    "shown": names["shown"].get(c + 1, shown_name(core.concepts[c])),
                    "category": core.categories[c],
                    "scene": core.scenes[row],
                    "frequency": float(core.frequency[row, c]),
                    "images": round(float(core.frequency[row, c] * sizes[row])),
                    "related": bool(edges),
                    "facts": facts_text(edges),
                }
            )
    return pd.DataFrame(
        found,
        columns=[
            *("concept", "label", "shown", "category", "scene"),
            *("frequency", "images", "related", "facts"),
        ],
    )
