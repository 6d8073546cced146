"""Labels by the overlap of a unit's thresholded map with masks: NetDissect's and CEN's."""

from __future__ import annotations

import pandas as pd

from core.labelling.label import words
from core.labelling.probe import Probe


def by_iou(probe: Probe, denominator: str) -> pd.DataFrame:
    """NetDissect's label of each unit: the concept of highest IoU over the photos (Eq. 1),
    :func:`core.dissect.labels.unit_labels`.

    denominator : ``"all"`` active pixels count, or the ``"annotated"`` ones.

    Columns unit, label, score (the IoU), iou, and those of `unit_labels`.
    """
    from core.dissect.labels import unit_labels
    from core.labelling.methods import terms_of_concepts

    frame = unit_labels(
        probe.run,
        probe.layer,
        denominator,
        probe.categories or None,
        splits=probe.splits or None,
    )
    return frame.assign(
        label=[probe.names[k] for k in frame["concept"]],
        score=frame["iou"],
        terms=terms_of_concepts(frame["concept"]),
    )


def by_formula(probe: Probe) -> pd.DataFrame:
    """CEN's label of each unit: the formula of highest IoU,
    :func:`core.dissect.formulas.unit_formulas` as it searches where nothing is chosen.

    Columns unit, label, score (the IoU), iou, and those of `unit_formulas`.
    """
    from core.dissect.formula_search import Search
    from core.dissect.formulas import formula_table, found_formulas

    search = Search(categories=probe.categories, splits=probe.splits)
    found, signatures = found_formulas(probe.run, probe.layer, search)
    frame = formula_table(signatures, found)
    terms = [((1.0, one.formula),) if one.formula else () for one in found]
    frame = frame.assign(
        concept=frame["label"],
        label=[words(said, probe.names) if said else None for said in terms],
        terms=terms,
    )
    return frame.dropna(subset="label")
