"""Do dictionaries that differ by their seed alone have the same features?

Directions of two dictionaries are compared by their cosine. *Matched* is the mean cosine after the
best one-to-one matching (Hungarian algorithm); *nearest* is the mean over features of the largest
cosine to any feature of the other, which counts a feature that several resemble several times, and
which the field calls mean max cosine similarity (Sharkey et al. 2022).

High-dimensional directions that were drawn at random have a nearest one too, and directions of maps
that are never negative all lie in one corner of the space. So the same numbers stand beside two
controls: the second dictionary's directions replaced by as many *random* ones, uniform over all
directions, and by *alike* ones, drawn with the mean and covariance of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from core.foundation.errors import UnitscopeError
from core.models.dictionary import Dictionary

SAME = 0.9
"""Cosine from which on two features count as the same."""

DRAWS = 3
"""Sets of directions that each control is the mean of."""


class Likeness(NamedTuple):
    """How alike two sets of directions are.

    matched : mean cosine of matched pairs. nearest : mean over the first set of the largest cosine.
    same : share of the smaller set whose matched cosine is at least :data:`SAME`.
    """

    matched: float
    nearest: float
    same: float


def directions(dictionary: Dictionary) -> np.ndarray:
    """float64 (live features, units): decoder directions of length 1, of features that were active
    in training."""
    columns = dictionary.decoder.detach()[:, dictionary.live].numpy().astype(np.float64)
    length = np.linalg.norm(columns, axis=0)
    return unit_length(columns.T[length > 0])


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their length."""
    scaled: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def likeness(a: np.ndarray, b: np.ndarray) -> Likeness:
    """Of two sets of directions (n, units) and (m, units), each of length 1.

    >>> likeness(np.eye(3), np.eye(3)[[2, 0, 1]])
    Likeness(matched=1.0, nearest=1.0, same=1.0)
    """
    cosines = a @ b.T
    matched = cosines[linear_sum_assignment(cosines, maximize=True)]
    return Likeness(
        float(matched.mean()),
        float(cosines.max(1).mean()),
        float((matched >= SAME - 1e-12).mean()),
    )


def drawn(like: np.ndarray, alike: bool, seed: int) -> np.ndarray:
    """As many directions as `like` (n, units) drawn at random: uniform, or, where `alike`, with the
    mean and covariance of `like`."""
    rng = np.random.default_rng(seed)
    n, units = like.shape
    if not alike:
        return unit_length(rng.standard_normal((n, units)))
    # Random sums of centred rows have their covariance, also where it is singular.
    centred = like - like.mean(0)
    mixed = rng.standard_normal((n, n)) @ centred / np.sqrt(n)
    return unit_length(like.mean(0) + mixed)


def stability(dictionaries: Sequence[Dictionary], names: Sequence[str]) -> pd.DataFrame:
    """Likeness of every two dictionaries of the same units, and of their controls.

    Columns first, second (names), features_first, features_second (live), and matched, nearest,
    same of :class:`Likeness`, then those of the controls: random_…, alike_….

    Raises UnitscopeError for fewer than two, for dictionaries of different networks or layers, and
    where one has no live feature.
    """
    if len(dictionaries) < 2:
        raise UnitscopeError("stability compares two dictionaries or more")
    first = dictionaries[0].origin
    for name, one in zip(names, dictionaries, strict=True):
        if (one.origin.network, one.origin.layer) != (first.network, first.layer):
            raise UnitscopeError(
                f"{name} is of {one.origin.layer} of {one.origin.spec or 'a network'}, and "
                f"{names[0]} of {first.layer} of {first.spec or 'a network'}: directions of "
                "different layers or networks cannot be compared"
            )
    sets = [directions(one) for one in dictionaries]
    for name, rows_of in zip(names, sets, strict=True):
        if not len(rows_of):
            raise UnitscopeError(f"{name} has no feature that was active in training")
    rows = []
    for i, j in combinations(range(len(sets)), 2):
        row: dict[str, object] = {
            "first": names[i],
            "second": names[j],
            "features_first": len(sets[i]),
            "features_second": len(sets[j]),
            **likeness(sets[i], sets[j])._asdict(),
        }
        for control in ("random", "alike"):
            draws = [
                likeness(sets[i], drawn(sets[j], control == "alike", seed)) for seed in range(DRAWS)
            ]
            means = np.mean(draws, axis=0)
            for key, value in zip(Likeness._fields, means, strict=True):
                row[f"{control}_{key}"] = float(value)
        rows.append(row)
    return pd.DataFrame(rows)
