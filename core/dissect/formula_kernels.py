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


@numba.njit(cache=True, nogil=True, inline="always")
def _successor(
    op: int, i_f: int, x_f: int, i_b: int, x_b: int, i_both: int, x_both: int
) -> tuple[bool, int, int]:
    """(is it of use, pixels inside, pixels outside) of G = F op b, from those of F, b, F ∩ b."""
    if op == OR:
        # A concept that is never active only adds to the outside.
        useful = not (i_b == 0 or (i_both == i_b and x_both == x_b))
        return useful, i_f + i_b - i_both, x_f + x_b - x_both
    if op == AND:
        useful = not (i_both == 0 or (i_both == i_f and x_both == x_f))
        return useful, i_both, x_both
    # What takes away nothing outside can only do harm.
    return not (x_both == 0 or i_both == i_f), i_f - i_both, x_f - x_both


@numba.njit(cache=True, nogil=True, inline="always")
def _overlap(
    op: int, of_f: int, of_g: int, of_d: int, f_and_d: int, f_and_b: int, b_and_d: int
) -> tuple[int, int]:
    """The least and the most pixels that G ∩ d can have, G = F op b, from counts of its parts."""
    if op == OR:
        return max(f_and_d, b_and_d), min(f_and_d + b_and_d, of_d, of_g)
    if op == AND:
        return max(0, f_and_b + f_and_d - of_f), min(f_and_d, b_and_d, of_g)
    return max(0, f_and_d - f_and_b), min(f_and_d, of_g)


@numba.njit(cache=True, nogil=True, inline="always")
def _any_further(
    i_g: int, x_g: int, hits: int, rest: int, top: np.ndarray, through: int, cut_1: int, cut_2: int
) -> float:
    """Bound of the IoU of whatever `rest` > 1 more concepts make of G.

    It is (G ∩ K) ∪ M: K up to k concepts or their negations, M within the union of the other
    rest − k. through : the most active pixels that G ∩ d has for any d; cut_1, cut_2 : the two
    largest of pixels outside.
    """
    most = 0.0
    for k in range(rest + 1):
        gone = 0 if k == 0 else cut_1 if k == 1 else cut_1 + (k - 1) * cut_2
        inside = min(i_g + top[rest - k], hits)
        most = max(most, inside / (hits + max(0, x_g - gone)))
    through_bound: float = min(through + top[rest - 1], hits) / hits
    return max(most, through_bound)


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
            useful, i_g, x_g = _successor(op, i_f[0], x_f[0], i_one[b], x_one[b], i_f[b], x_f[b])
            # The roughest bound first: most successors end here.
            if not useful or min(i_g + top[rest], hits) / hits <= best:
                continue
            most = 0.0
            cut_1, cut_2 = 0, 0
            through = 0
            for d in range(1, size):
                if i_one[d] == 0 and x_one[d] == 0:
                    continue
                i_low, i_high = _overlap(op, i_f[0], i_g, i_one[d], i_f[d], i_f[b], i_two[b, d])
                x_low, x_high = _overlap(op, x_f[0], x_g, x_one[d], x_f[d], x_f[b], x_two[b, d])
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
                most = _any_further(i_g, x_g, hits, rest, top, through, cut_1, cut_2)
            out[op - 1, b] = most
    return out
