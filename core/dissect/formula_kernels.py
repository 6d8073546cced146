"""Kernels of the search for formulas: overlaps of a formula with every concept, and bounds."""

from __future__ import annotations

import numba
import numpy as np

from core.dissect.formula import AND, OR


@numba.njit(cache=True, nogil=True, inline="always")
def _carries(labels: np.ndarray, row: int, concept: int) -> bool:
    found = False
    for k in range(labels.shape[1]):
        found |= labels[row, k] == concept
    return found


@numba.njit(cache=True, nogil=True, inline="always")
def _holds(labels: np.ndarray, row: int, concepts: np.ndarray, ops: np.ndarray) -> bool:
    holds = _carries(labels, row, concepts[0])
    for k in range(1, concepts.size):
        if ops[k] == OR:
            holds = holds or _carries(labels, row, concepts[k])
        elif ops[k] == AND:
            holds = holds and _carries(labels, row, concepts[k])
        else:
            holds = holds and not _carries(labels, row, concepts[k])
    return holds


@numba.njit(cache=True, nogil=True)
def active_with(
    labels: np.ndarray,
    which: np.ndarray,
    active: np.ndarray,
    concepts: np.ndarray,
    ops: np.ndarray,
    size: int,
) -> np.ndarray:
    """|A_t ∩ F ∩ c| for all c; entry 0 is |A_t ∩ F|."""
    out = np.zeros(size, np.int64)
    whole = 0
    for j in range(which.size):
        row = which[j]
        if _holds(labels, row, concepts, ops):
            whole += active[j]
            for k in range(labels.shape[1]):
                out[labels[row, k]] += active[j]
    out[0] = whole
    return out


@numba.njit(cache=True, nogil=True)
def areas_with(
    labels: np.ndarray,
    pixels: np.ndarray,
    starts: np.ndarray,
    holders: np.ndarray,
    concepts: np.ndarray,
    ops: np.ndarray,
    size: int,
) -> np.ndarray:
    """|F ∩ c| for all c; entry 0 is |F|.

    F holds only where its first concept or one that is joined by OR stands, so only the
    signatures that carry one of those are looked at, each once.
    """
    out = np.zeros(size, np.int64)
    whole = 0
    for k in range(concepts.size):
        if k > 0 and ops[k] != OR:
            continue
        for at in range(starts[concepts[k]], starts[concepts[k] + 1]):
            row = holders[at]
            before = False
            for j in range(k):
                if (j == 0 or ops[j] == OR) and _carries(labels, row, concepts[j]):
                    before = True
                    break
            if before or not _holds(labels, row, concepts, ops):
                continue
            whole += pixels[row]
            for j in range(labels.shape[1]):
                out[labels[row, j]] += pixels[row]
    out[0] = whole
    return out


@numba.njit(cache=True, nogil=True)
def bounds(
    i_f: np.ndarray,
    x_f: np.ndarray,
    i_one: np.ndarray,
    x_one: np.ndarray,
    i_two: np.ndarray,
    x_two: np.ndarray,
    hits: int,
    rest: int,
    top: np.ndarray,
    best: float,
) -> np.ndarray:
    """An upper bound of the IoU of whatever each successor of F leads to.

    For G = F op b, with `rest` more concepts to join. i : pixels inside A_t, x : pixels
    outside it; IoU = i / (hits + x). i_f, x_f (concepts,): F ∩ c, entry 0 is F. i_one, x_one: c
    alone. i_two, x_two (concepts, concepts): c ∩ d. top[m]: the m largest of i_one, added up.
    Returns float64 (3, concepts), 0 where G cannot be of use: it changes nothing, or has no
    active pixel.

    G ∩ d is bounded from F ∩ d, F ∩ b and b ∩ d: exactly where they lie in one channel.
    """
    size = i_f.size
    out = np.zeros((3, size))
    for op in range(1, 4):
        for b in range(1, size):
            if op == OR:
                # A concept that is never active only adds to the outside.
                if i_one[b] == 0 or (i_f[b] == i_one[b] and x_f[b] == x_one[b]):
                    continue
                i_g, x_g = i_f[0] + i_one[b] - i_f[b], x_f[0] + x_one[b] - x_f[b]
            elif op == AND:
                if i_f[b] == 0 or (i_f[b] == i_f[0] and x_f[b] == x_f[0]):
                    continue
                i_g, x_g = i_f[b], x_f[b]
            else:
                # What takes away nothing outside can only do harm.
                if x_f[b] == 0 or i_f[b] == i_f[0]:
                    continue
                i_g, x_g = i_f[0] - i_f[b], x_f[0] - x_f[b]
            # The roughest bound first: most successors end here.
            if min(i_g + top[rest], hits) / hits <= best:
                continue
            most = 0.0
            cut_1, cut_2 = 0, 0
            through = 0
            for d in range(1, size):
                if i_one[d] == 0 and x_one[d] == 0:
                    continue
                # Bounds of G ∩ d, inside and outside.
                if op == OR:
                    i_low, x_low = max(i_f[d], i_two[b, d]), max(x_f[d], x_two[b, d])
                    i_high = min(i_f[d] + i_two[b, d], i_one[d], i_g)
                    x_high = min(x_f[d] + x_two[b, d], x_one[d], x_g)
                elif op == AND:
                    i_low = max(0, i_f[b] + i_f[d] - i_f[0])
                    x_low = max(0, x_f[b] + x_f[d] - x_f[0])
                    i_high = min(i_f[d], i_two[b, d], i_g)
                    x_high = min(x_f[d], x_two[b, d], x_g)
                else:
                    i_low, x_low = max(0, i_f[d] - i_f[b]), max(0, x_f[d] - x_f[b])
                    i_high, x_high = min(i_f[d], i_g), min(x_f[d], x_g)
                if rest == 1:
                    joined = (i_g + i_one[d] - i_low) / (hits + x_g + x_one[d] - x_high)
                    within = i_high / (hits + x_low)
                    without = (i_g - i_low) / (hits + x_g - x_high)
                    most = max(most, joined, within, without)
                else:
                    through = max(through, i_high)
                    if x_high > cut_1:
                        cut_1, cut_2 = x_high, cut_1
                    elif x_high > cut_2:
                        cut_2 = x_high
            if rest > 1:
                # Whatever follows is (G ∩ K) ∪ M: K up to k concepts or their negations, M
                # within the union of the other rest − k.
                for k in range(rest + 1):
                    gone = 0 if k == 0 else cut_1 if k == 1 else cut_1 + (k - 1) * cut_2
                    inside = min(i_g + top[rest - k], hits)
                    most = max(most, inside / (hits + max(0, x_g - gone)))
                most = max(most, min(through + top[rest - 1], hits) / hits)
            out[op - 1, b] = most
    return out
