"""The map of a layer: units whose activations go together stand near each other."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pandas as pd

from core.foundation.files import write_whole
from core.foundation.versions import versions_of
from core.runs.run_file import Run, derived

DIMENSIONS, PERPLEXITY, STEPS = 50, 30, 500
"""Of the classical scaling that goes before t-SNE, and of t-SNE itself."""

MAP_METHOD = (
    f"t-SNE (perplexity {PERPLEXITY}, seed 0) of the correlations of the units’ mean activations "
    "over images"
)
"""How :func:`unit_map` lays units out, in words."""


def correlations(values: np.ndarray, chunk: int = 2048) -> np.ndarray:
    """Pearson's correlation of every two columns, float64 (columns, columns).

    values : (rows, columns), read `chunk` rows at a time. A column that never changes correlates
    with nothing: 0, and 1 with itself.
    """
    rows, columns = values.shape
    mean = np.zeros(columns)
    for at in range(0, rows, chunk):
        mean += np.asarray(values[at : at + chunk], np.float64).sum(0) / rows
    products = np.zeros((columns, columns))
    for at in range(0, rows, chunk):
        part = np.asarray(values[at : at + chunk], np.float64) - mean
        products += part.T @ part
    spread = np.sqrt(np.maximum(products.diagonal(), 0))
    moving = spread > 1e-12
    spread[~moving] = 1
    products /= spread[:, None] * spread[None, :]
    products[~moving] = products[:, ~moving] = 0
    np.fill_diagonal(products, 1)
    return np.clip(products, -1, 1)


def layout(similar: np.ndarray, seed: int = 0) -> np.ndarray:
    """Points in the plane, float64 (units, 2) within −1 … 1: alike units are near each other.

    similar : correlations r. Classical scaling of the distances √(2 − 2r) to
    :data:`DIMENSIONS`, then scikit-learn's t-SNE from its first two on; fewer than five units
    stay where the scaling put them. What is far apart on the map may be more or less alike.
    One thread and a fixed seed: the same input gives the same points.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n = len(similar)
    with threadpool_limits(1):
        centre = np.eye(n) - 1 / n
        # B = −½ J D² J with D² = 2 − 2r; the constant goes under J.
        values, vectors = np.linalg.eigh(centre @ similar @ centre)
        order = np.argsort(-values, kind="stable")[:DIMENSIONS]
        points = vectors[:, order] * np.sqrt(np.maximum(values[order], 0))
        # An eigenvector has no sign of its own.
        points *= np.where(points[np.abs(points).argmax(0), np.arange(len(order))] < 0, -1, 1)
        if points.shape[1] < 2:
            points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
        if n >= 5 and points.any():
            start = 1e-4 * points[:, :2] / max(float(points[:, 0].std()), 1e-12)
            points = TSNE(
                perplexity=min(PERPLEXITY, (n - 1) / 3),
                init=start,
                random_state=seed,
                n_jobs=1,
                max_iter=STEPS,
            ).fit_transform(points)
    points = np.asarray(points[:, :2], np.float64)
    points -= (points.max(0) + points.min(0)) / 2
    return points / max(float(np.abs(points).max()), 1e-12)


def unit_map(run: Run, layer: str) -> pd.DataFrame:
    """Where each unit stands on the map of its layer: unit, x, y (within −1 … 1).

    :func:`layout` of the :func:`correlations` of the units' pooled activations over the images of
    the run. Made once, then kept beside the run. Raises UnitscopeError for an unknown layer.
    """
    name = run.layer_names[run.layer(layer)]
    facts = {"layer": name, **versions_of("unit map"), "scikit-learn": version("scikit-learn")}
    path = derived(run, "map", facts, "csv")
    if not path.is_file():
        used = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
        pooled = run.array(f"pooled-{name}")
        at = layout(correlations(pooled if len(used) == len(pooled) else pooled[used]))
        frame = pd.DataFrame({"unit": np.arange(len(at)), "x": at[:, 0], "y": at[:, 1]})
        write_whole(path, lambda fresh: frame.to_csv(fresh, index=False))
    return pd.read_csv(path)
