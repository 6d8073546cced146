"""Lessons with a concept masked out of the photo: what the network answers without it.

VRX masks out concepts so that the graphs learn what the network does without each. A masked photo
is that of :mod:`core.attribution.measured`, filled by the mean colour; its graph is that of the
photo itself with a dummy in the concept's place.
"""

from __future__ import annotations

import numpy as np

from core.attribution.case import Opened
from core.attribution.measured import Asked as Effects
from core.attribution.measured import measure_splits
from core.foundation.progress import Report, Stop, never
from core.graphs.distil import MASKING, Asked, Lessons, of_interest
from core.graphs.scg import Graphs


def lessons(
    opened: Opened,
    asked: Asked,
    graphs: Graphs,
    progress: Report | None = None,
    stop: Stop = never,
) -> Lessons:
    """A lesson for each concept that a photo of the learned splits shows and that is a node of any
    class, from effects that are kept beside the run.

    Raises Stopped where `stop` says so; UnitscopeError as
    :func:`core.attribution.measured.measure_splits`.
    """
    asked = asked.of(opened.run)
    _, found = of_interest(opened.run, asked)
    wanted = Effects((MASKING,), 0, splits=tuple(sorted(asked.learn)), layer=asked.layer)
    measured = measure_splits(opened, wanted, progress, stop)
    row_of = {int(image): row for row, image in enumerate(graphs.images)}
    column_of = {int(concept): k for k, concept in enumerate(graphs.concepts)}
    images = measured.images["image"].to_numpy()
    kept = [
        (k, row_of[int(images[photo])], column_of[concept])
        for k, (photo, concept) in enumerate(
            zip(measured.rows["photo"], measured.rows["concept"].tolist(), strict=True)
        )
        if concept in column_of and graphs.shown[row_of[int(images[photo])], column_of[concept]]
    ]
    at, rows, without = np.array(kept, np.int64).reshape(-1, 3).T
    return Lessons(rows, without, measured.after[at, 0][:, found.classes])
