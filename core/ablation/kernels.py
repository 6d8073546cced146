"""Numba kernels of the closed form: logits after an edit, and how many answers are right."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

# Products are summed with fused multiply-adds in a fixed order: the same set gives the same
# bytes on any number of threads. No other liberty is taken with floating point.
_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


@_jit
def _judge(row: np.ndarray, target: int) -> tuple[int, int]:
    """(first place of the largest value, how many values are larger than the target's)."""
    largest = row[0]
    for c in range(row.size):
        largest = max(largest, row[c])
    best = 0
    for c in range(row.size):
        if row[c] == largest:
            best = c
            break
    larger = 0
    if target >= 0:
        own = row[target]
        for c in range(row.size):
            larger += row[c] > own
    return best, larger


@_jit
def add_and_judge(
    logits: np.ndarray,
    by_unit: np.ndarray,
    at: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray,
    target: np.ndarray,
    first: int,
    last: int,
    predicted: np.ndarray,
    larger: np.ndarray,
) -> None:
    """argmax and rank of logits + offset + by_unit[at]ᵀ·weights for images first … last − 1.

    logits (images, classes), by_unit (units, images), at (changed,), weights (changed, classes),
    offset (classes,). The sums of four images stay in the first cache while the weights pass by
    four units at a time.
    """
    units, classes = weights.shape
    sums = np.empty((4, classes), np.float32)
    for i in range(first, last, 4):
        n = min(4, last - i)
        for r in range(n):
            for c in range(classes):
                sums[r, c] = logits[i + r, c] + offset[c]
        s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
        k = 0
        while n == 4 and k + 4 <= units:
            w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            xa, xb = by_unit[at[k]], by_unit[at[k + 1]]
            xc, xd = by_unit[at[k + 2]], by_unit[at[k + 3]]
            a0, a1, a2, a3 = xa[i], xa[i + 1], xa[i + 2], xa[i + 3]
            b0, b1, b2, b3 = xb[i], xb[i + 1], xb[i + 2], xb[i + 3]
            c0, c1, c2, c3 = xc[i], xc[i + 1], xc[i + 2], xc[i + 3]
            d0, d1, d2, d3 = xd[i], xd[i + 1], xd[i + 2], xd[i + 3]
            # Two images at a time: eight factors and the weights fit the registers.
            for c in range(classes):
                v0, v1, v2, v3 = w0[c], w1[c], w2[c], w3[c]
                s0[c] = s0[c] + a0 * v0 + b0 * v1 + c0 * v2 + d0 * v3
                s1[c] = s1[c] + a1 * v0 + b1 * v1 + c1 * v2 + d1 * v3
            for c in range(classes):
                v0, v1, v2, v3 = w0[c], w1[c], w2[c], w3[c]
                s2[c] = s2[c] + a2 * v0 + b2 * v1 + c2 * v2 + d2 * v3
                s3[c] = s3[c] + a3 * v0 + b3 * v1 + c3 * v2 + d3 * v3
            k += 4
        while k < units:
            for r in range(n):
                d = by_unit[at[k], i + r]
                row, w = sums[r], weights[k]
                for c in range(classes):
                    row[c] = row[c] + d * w[c]
            k += 1
        for r in range(n):
            predicted[i + r], larger[i + r] = _judge(sums[r], target[i + r])


@_jit
def follow(
    logits: np.ndarray,
    unit: np.ndarray,
    moved: np.ndarray,
    weights: np.ndarray,
    target: np.ndarray,
    first: int,
    last: int,
    predicted: np.ndarray,
    larger: np.ndarray,
) -> None:
    """Add moved_i·weights[unit_i] to row i of the logits, in place, and judge it; unit −1 adds
    nothing."""
    for i in range(first, last):
        row = logits[i]
        if unit[i] >= 0:
            w, d = weights[unit[i]], moved[i]
            for c in range(row.size):
                row[c] = row[c] + d * w[c]
        predicted[i], larger[i] = _judge(row, target[i])


@_jit
def count_right(
    logits: np.ndarray,
    pooled: np.ndarray,
    sign: float,
    weights: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    units: np.ndarray,
    target: np.ndarray,
    first: int,
    last: int,
    right: np.ndarray,
) -> None:
    """Add to right[k], for each k, the images that are right with sign·pooled·W of units[k] added.

    Most pairs are settled without looking at the classes. A right image stays right where its
    margin to the runner-up is larger than any class can catch up: |x|·(range of the unit's
    weights towards the true one). A wrong image stays wrong where the class now on top still is
    above the true one.
    """
    classes = logits.shape[1]
    for i in range(first, last):
        y = target[i]
        row = logits[i]
        own = row[y]
        top, second = -1, np.float32(-np.inf)
        for c in range(classes):
            if c != y and row[c] > second:
                top, second = c, row[c]
        if top < 0:  # a network of one class is always right
            for k in range(units.size):
                right[k] += 1
            continue
        is_right = own > second or (own == second and y < top)
        for k in range(units.size):
            t = units[k]
            d = np.float32(sign * pooled[i, t])
            w = weights[t]
            if d == 0:
                right[k] += is_right
                continue
            if is_right:
                reach = d * ((low[t] if d < 0 else high[t]) - w[y])
                if own - second > reach + 1e-5 * (1 + abs(own) + abs(second) + abs(reach)):
                    right[k] += 1
                    continue
            mine = own + d * w[y]
            other = row[top] + d * w[top]
            if other > mine or (other == mine and top < y):
                continue
            wins = True
            for c in range(classes):
                value = row[c] + d * w[c]
                if c != y and (value > mine or (value == mine and c < y)):
                    wins = False
                    break
            right[k] += wins


_pool: list[ThreadPoolExecutor] = []
_pool_lock = threading.Lock()


def in_parts(work: Callable[[int, int], object], count: int, least: int = 256) -> None:
    """``work(first, last)`` over 0 … count in parts of whole fours, on the machine's cores.

    Plain threads: the kernels let go of the interpreter, and unlike numba's own threads they
    may be asked from several sessions at once.
    """
    cores = os.cpu_count() or 1
    parts = min(4 * cores, max(1, count // least))
    if parts == 1 or cores == 1:
        work(0, count)
        return
    with _pool_lock:
        if not _pool:
            _pool.append(ThreadPoolExecutor(cores, thread_name_prefix="toggle"))
    cuts = [round(k * count / parts / 4) * 4 for k in range(parts)] + [count]
    list(_pool[0].map(work, cuts[:-1], cuts[1:]))


class Predictions(NamedTuple):
    """What the network says of some images.

    predicted : int32, the class with the largest logit, the first of equals.
    larger : int32, classes whose logit is larger than the true class's; 0 where there is none.
    """

    predicted: np.ndarray
    larger: np.ndarray


def judge(logits: np.ndarray, target: np.ndarray) -> Predictions:
    """Predictions of float32 logits (images, classes); target −1 where the class is unknown."""
    predicted, larger = np.empty(len(logits), np.int32), np.empty(len(logits), np.int32)
    nothing = np.full(len(logits), -1, np.int32)
    none = np.zeros((1, logits.shape[1]), np.float32)
    in_parts(
        lambda a, b: follow(
            logits, nothing, nothing.astype(np.float32), none, target, a, b, predicted, larger
        ),
        len(logits),
    )
    return Predictions(predicted, larger)
