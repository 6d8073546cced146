"""Names as people, datasets and networks write them, brought to one spelling."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np


def plain_name(name: str) -> str:
    """Lower case, separators as spaces, Places365's leading ``/d/`` dropped.

    >>> plain_name("/d/dining_room"), plain_name("arena-hockey"), plain_name("/a/arena/hockey")
    ('dining room', 'arena hockey', 'arena hockey')
    """
    name = re.sub(r"^/[a-z]/", "", name.strip().lower())
    return re.sub(r"[\s_/-]+", " ", name).strip()


def with_source(name: str, labels_by: str) -> str:
    """A dataset's name as figures and tables state it: where no people made its labels, with
    whose predictions they are.

    >>> with_source("street", "segformer"), with_source("nyuv2", "")
    ('street (labels predicted by segformer)', 'nyuv2')
    """
    return f"{name} (labels predicted by {labels_by})" if labels_by else name


def match_names(names: Sequence[str], options: Sequence[str]) -> np.ndarray:
    """Position in `options` of each name, by :func:`plain_name`; −1 where there is none.

    The first of several options with one plain spelling wins. Returns int32 (len(names),).

    >>> match_names(["living_room", "moon"], ["/b/bedroom", "/l/living_room"])
    array([ 1, -1], dtype=int32)
    """
    where: dict[str, int] = {}
    for k, option in enumerate(options):
        where.setdefault(plain_name(option), k)
    return np.array([where.get(plain_name(name), -1) for name in names], np.int32)
