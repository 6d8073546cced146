"""Labels of any method that are near to free text, by an encoder of words.

:meth:`core.labelling.judged.Bench.find` looks for a word in what labels name. Here the text and the
names are compared by their features: *a place to sleep* finds `bed`, as far as the encoder knows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name, readable
from core.foundation.progress import Report, Stop, never
from core.labelling.encoders import Encoder
from core.labelling.judged import Bench
from core.runs.run_file import Run


def near(
    bench: Bench,
    run: Run,
    text: str,
    encoder: Encoder,
    progress: Report | None = None,
    stop: Stop = never,
) -> pd.DataFrame:
    """Rows of :attr:`Bench.units` by how near their label is to a text, the nearest first, among
    equals the best image-level simulation.

    Columns besides: `near`, the cosine of the text's features with those of the nearest name in the
    label (a concept that it speaks for; its own words where it names none); `name`, that name;
    `place` of it in the label, from 1. Labels whose names the encoder does not know are left out.

    Raises UnitscopeError for an empty text, where the encoder does not know it, and where it knows
    none of the names; Stopped.
    """
    wanted = plain_name(text)
    if not wanted:
        raise UnitscopeError("which text are labels compared with?")
    said = [
        tuple(names) or (str(label),)
        for names, label in zip(bench.units["concepts"], bench.units["label"], strict=True)
    ]
    every = sorted({name for names in said for name in names})
    # A category behind a name tells concepts apart, not what they are.
    words = [plain_name(name).partition(" (")[0] for name in every]
    features = encoder.word_features(run, [wanted, *words], progress=progress, stop=stop)
    features = features.astype(np.float64)
    known = np.isfinite(features).all(1)
    if not known[0]:
        raise UnitscopeError(f"the encoder {encoder.spec} does not know {readable(text)!r}")
    length = np.linalg.norm(features, axis=1)
    cosines = features[1:] @ features[0] / np.maximum(length[1:] * length[0], 1e-12)
    cosines[~known[1:]] = -np.inf
    at = dict(zip(every, cosines.tolist(), strict=True))
    best = [int(np.argmax([at[name] for name in names])) for names in said]
    found = bench.units.assign(
        near=[at[names[k]] for names, k in zip(said, best, strict=True)],
        name=[names[k] for names, k in zip(said, best, strict=True)],
        place=[k + 1 for k in best],
    )
    found = found[np.isfinite(found["near"])]
    if not len(found):
        raise UnitscopeError(f"the encoder {encoder.spec} knows no name in these labels")
    return found.sort_values(
        ["near", "image"], ascending=[False, False], kind="stable", ignore_index=True
    )
