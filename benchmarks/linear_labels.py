"""Linear explanations at the size of ADE20K: 512 units × 1,105 concepts × 22,210 photos.

    python -m benchmarks.linear_labels [--photos 22210] [--concepts 1105] [--units 512]

Areas and activations are drawn (17 concepts a photo, frequencies falling as 1/rank; each unit a sum
of three concepts and noise). Told are the seconds of the sums XᵀX and Xᵀy, of the fit with its
cross-validation, the ratio of both to the floor (one pass of the products XᵀX and Xᵀy over all
photos in the same run), peak memory, and how many of the planted concepts are found.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np
from scipy import sparse

from core.labelling.linear import folds_of, grams, linear


def drawn(photos: int, concepts: int, units: int, seed: int = 0):
    """(areas as CSR, activations float32, planted concepts (units, 3))."""
    rng = np.random.default_rng(seed)
    often = 1 / np.arange(1, concepts + 1)
    often = np.minimum(17 * often / often.sum(), 0.9)
    parts = [
        sparse.csr_array((rng.random((1, concepts)) < often) * rng.random((1, concepts)) * 0.2)
        for _ in range(photos)
    ]
    x = sparse.vstack(parts, format="csr")
    seen = np.flatnonzero(np.asarray((x > 0).sum(0)).ravel() > photos // 200)
    planted = np.array([rng.choice(seen, 3, replace=False) for _ in range(units)])
    y = np.empty((photos, units), np.float32)
    for unit in range(units):
        signal = x[:, planted[unit]] @ np.array([1.0, 0.8, 0.6])
        y[:, unit] = signal + signal.std() * rng.normal(size=photos)
    return sparse.csr_array(x), y, planted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=22210)
    parser.add_argument("--concepts", type=int, default=1105)
    parser.add_argument("--units", type=int, default=512)
    given = parser.parse_args(arguments)
    x, y, planted = drawn(given.photos, given.concepts, given.units)
    linear(grams(x[:200], y[:200], folds_of(200)))  # compiled before anything is timed
    began = time.perf_counter()
    _ = (x.T @ x).toarray(), x.T @ y.astype(np.float64)
    floor = time.perf_counter() - began
    began = time.perf_counter()
    parts = grams(x, y, folds_of(given.photos))
    sums = time.perf_counter() - began
    began, used = time.perf_counter(), time.process_time()
    weights, comparable, seen = linear(parts)
    fit, used = time.perf_counter() - began, time.process_time() - used
    top = np.argsort(-comparable, axis=1)[:, :3]
    found = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(top, planted, strict=True)])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.photos} photos × {given.concepts} concepts × {given.units} units")
    times = (sums + fit) / floor
    print(f"sums {sums:.1f} s, fit {fit:.1f} s ({used:.1f} s of processor time)")
    print(f"together {times:.0f} × the floor ({floor:.1f} s); at most {memory:.0f} MB")
    print(
        f"{(weights > 0).sum(1).mean():.1f} concepts a label; {found:.0%} of the planted are among "
        f"the first three; correlation {seen.mean():.2f}"
    )


if __name__ == "__main__":
    main()
