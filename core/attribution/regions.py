"""Where each annotated concept of a photo lies, on the pixels that the network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from core.explain.learned import LEFT_OUT
from core.foundation.errors import UnitscopeError, unknown
from core.runs.run_file import Run


class NoRegion(UnitscopeError):
    """Nothing is annotated in a photo, so that nothing can be taken out of it."""


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions L(x, c) of one photo.

    Row r of everything is one concept; colours and scenes are left out, as in Eq. 2, and concepts
    that cover the whole photo too: what is left of a photo without them says nothing.

    Attributes
    ----------
    ids : int64 (concepts,), concept ids of the run, ascending. names, categories : of them.
    masks : bool (concepts, height, width), on the network's input.
    """

    ids: np.ndarray
    names: tuple[str, ...]
    categories: tuple[str, ...]
    masks: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def area(self) -> np.ndarray:
        """float64 (concepts,), share of the input that each covers."""
        shares: np.ndarray = self.masks.mean((1, 2), dtype=np.float64)
        return shares

    def only(self, rows: np.ndarray) -> Regions:
        """The regions of some concepts alone, by row."""
        return Regions(
            self.ids[rows],
            tuple(self.names[k] for k in rows),
            tuple(self.categories[k] for k in rows),
            self.masks[rows],
        )

    def row(self, concept: str) -> int:
        """Row of a concept by its name. Raises UnitscopeError where the photo has none of it."""
        if concept not in self.names:
            raise unknown("concept of this photo", concept, self.names)
        return self.names.index(concept)


def regions_of(run: Run, image: int, size: tuple[int, int]) -> Regions:
    """The regions of a photo's annotated concepts.

    size : (height, width) of the network's input; masks are taken from the working grid, each
        input pixel from the grid cell that it lies in.

    Raises NoRegion for an image that has no annotated region.
    """
    labels = run.label_maps(image)
    rows = (np.arange(size[0]) + 0.5) * labels.shape[1] / size[0]
    columns = (np.arange(size[1]) + 0.5) * labels.shape[2] / size[1]
    seen = labels[:, rows.astype(int)][:, :, columns.astype(int)]
    table = run.once(
        "concepts by id",
        lambda: run.sql("SELECT concept, name, category FROM concepts").set_index("concept"),
    )
    kept = [
        (int(concept), mask)
        for concept in np.unique(seen[seen > 0])
        if table.at[concept, "category"] not in LEFT_OUT
        and not (mask := (seen == concept).any(0)).all()
    ]
    if not kept:
        raise NoRegion(
            "this photo has no annotated region: nothing in it can be removed or credited"
        )
    ids = np.array([concept for concept, _ in kept])
    return Regions(
        ids,
        tuple(str(table.at[concept, "name"]) for concept in ids),
        tuple(str(table.at[concept, "category"]) for concept in ids),
        np.stack([mask for _, mask in kept]),
    )


def cell_shares(regions: Regions, category: str, cells: tuple[int, int]) -> np.ndarray:
    """How each cell of a layer's map is divided among a category's concepts and the rest.

    float64 (concepts of the category + 1, height, width), the last row what no concept of the
    category covers; every cell sums to 1. A pixel that several concepts cover counts for each in
    equal parts.

    cells : (height, width) of the map.

    >>> one = Regions(np.array([1]), ("bed",), ("object",), np.array([[[1, 1, 1, 0]]], bool))
    >>> cell_shares(one, "object", (1, 2))[:, 0].tolist()
    [[1.0, 0.5], [0.0, 0.5]]
    """
    chosen = regions.masks[[k == category for k in regions.categories]].astype(np.float64)
    covers = chosen.sum(0)
    parts = chosen / np.maximum(covers, 1)
    whole = torch.from_numpy(np.concatenate([parts, (covers == 0)[None].astype(np.float64)]))
    shares: np.ndarray = F.adaptive_avg_pool2d(whole[None], cells)[0].numpy()
    return shares
