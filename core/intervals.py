"""95 % intervals of shares and of changes of shares."""

from __future__ import annotations

import math

Z = 1.959964
"""The standard normal's 97.5 % point."""


def interval(right: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share `right`/`n`.

    >>> [round(x, 3) for x in interval(50, 100)]
    [0.404, 0.596]
    """
    if not n:
        return 0.0, 1.0
    p = right / n
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return float(middle - half), float(middle + half)


def paired_interval(gained: float, lost: float, n: float) -> tuple[float, float]:
    """95 % interval of the change (gained − lost)/n of a share measured twice on the same n.

    Agresti and Min's adjusted Wald interval (Statistics in Medicine 24, 2005): half an
    observation is added to each cell of the two-by-two table, so that no change at all still
    has a width.

    >>> [round(x, 3) for x in paired_interval(30, 10, 400)]
    [0.019, 0.081]
    >>> [round(x, 3) for x in paired_interval(0, 0, 400)]
    [-0.005, 0.005]
    """
    if not n:
        return -1.0, 1.0
    total = n + 2
    up, down = (gained + 0.5) / total, (lost + 0.5) / total
    half = Z * math.sqrt(max(0.0, up + down - (up - down) ** 2) / total)
    return float(up - down - half), float(up - down + half)
