"""LC(x) by labels of units: what a labelling method says that a layer learned of each photo."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from core.dissect.formula import NOT
from core.explain.learned import LEFT_OUT, Learned
from core.foundation.errors import UnitscopeError
from core.labelling.label import Terms
from core.labelling.methods import Labels
from core.runs.run_file import Run


def concepts_said(terms: Terms) -> set[int]:
    """Ids of the concepts that a label says a unit detects: those of terms of positive weight,
    but for what stands behind NOT.

    >>> from core.dissect.formula import AND, Formula
    >>> sorted(concepts_said(((1.0, Formula((1, 2, 3), (0, AND, NOT))), (-0.5, Formula((4,))))))
    [1, 2]
    """
    return {
        concept
        for weight, formula in terms
        if weight > 0
        for concept, op in zip(formula.concepts, formula.ops, strict=True)
        if op != NOT
    }


def learned_by_labels(run: Run, layer: str | None, labels: Labels) -> Learned:
    """LC(x) of every image: the union of the concepts in the labels of the units active in it.

    This takes the place of Eq. 2, whose masks of x itself no labelling method sees. Colours and
    scenes are left out, as there.

    Raises UnitscopeError for labels of another run or layer, and where no label says anything of
    an annotated concept.
    """
    name = run.layer_names[run.layer(layer)]
    of = labels.learned_from
    if (of.run.digest, of.layer) != (run.digest, name):
        raise UnitscopeError(
            f"labels of layer {of.layer} of run {of.run.digest} say nothing of layer {name} of run "
            f"{run.digest}"
        )
    frame = run.sql("SELECT concept, category FROM concepts ORDER BY concept")
    usable = np.r_[False, ~frame["category"].isin(LEFT_OUT).to_numpy(bool)]
    table = np.zeros((len(labels.terms), len(frame) + 1), bool)
    for unit, terms in enumerate(labels.terms):
        table[unit, sorted(concepts_said(terms))] = True
    table &= usable
    if not table.any():
        raise UnitscopeError(
            f"no label of method {labels.method!r} says anything of an annotated concept, so that "
            "nothing was learned of any photo"
        )
    hits = run.sql("SELECT image, unit FROM hits WHERE layer = ?", [run.layer(layer)])
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    rows = np.searchsorted(images, hits["image"].to_numpy())
    active = sparse.csr_array(
        (np.ones(len(hits), bool), (rows, hits["unit"].to_numpy())),
        shape=(len(images), len(table)),
    )
    scenes = int((frame["category"] == "scene").sum())
    return Learned.of_active(
        run, name, labels.method, active, table[:, 1 : len(frame) + 1 - scenes]
    )
