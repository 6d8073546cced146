"""What a labelling method learns from and is judged by: activations of units beside masks.

Everything comes from the run file: the mean of each unit's map (``pooled-LAYER.npy``), the maps
themselves, and the areas of annotated concepts. No network is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import sparse

from core.ablation.images import choose, images_of
from core.dissect.formula import AND, NOT, OR, Formula
from core.explain.learned import LEFT_OUT
from core.foundation.errors import UnitscopeError
from core.foundation.names import few
from core.foundation.vocabulary import JUDGING, LEARNING
from core.labelling.label import Terms
from core.runs.run_file import Run, known_values

SHARD = 64
"""Photos whose label maps or maps of units are read at once."""


@dataclass(frozen=True, eq=False)
class Probe:
    """Photos of a run's layer: of some splits, in the order of their numbers.

    Attributes
    ----------
    run, layer : whose units they are. splits : of the photos; empty for all.
    categories : whose concepts labels may name; empty for all.
    """

    run: Run
    layer: str
    splits: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @cached_property
    def images(self) -> pd.DataFrame:
        """The photos, as :func:`core.ablation.images.images_of` has them."""
        images = images_of(self.run)
        return images.iloc[choose(images, splits=self.splits)].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def numbers(self) -> np.ndarray:
        """int64 (photos,), image numbers of the run, ascending."""
        numbers: np.ndarray = self.images["image"].to_numpy(np.int64)
        return numbers

    @cached_property
    def activations(self) -> np.ndarray:
        """float32 (photos, units): the mean of each unit's map."""
        rows = np.asarray(self.run.array(f"pooled-{self.layer}")[self.numbers], np.float32)
        if not np.isfinite(rows).all():
            raise UnitscopeError(
                f"layer {self.layer} has activations that are no finite numbers; no label can be "
                "judged by them"
            )
        return rows

    @cached_property
    def concepts(self) -> pd.DataFrame:
        """All concepts of the run by id: concept, name, category, whole, usable (of one of the
        :attr:`categories`)."""
        frame = self.run.sql("SELECT concept, name, category, whole FROM concepts ORDER BY concept")
        return frame.assign(usable=frame["category"].isin(self.categories or set(frame.category)))

    @cached_property
    def names(self) -> list[str]:
        """Names by concept id; entry 0 is empty. A name that several categories share has its
        category behind it: ``water (material)``."""
        names, categories = self.concepts["name"], self.concepts["category"]
        shared = names.duplicated(keep=False)
        full = names.where(~shared, names + " (" + categories + ")")
        return ["", *full]

    @cached_property
    def ids(self) -> dict[str, int]:
        """Concept ids by name as :attr:`names` has them, and by the plain name where it is one
        concept's alone among those that are usable."""
        found = {name: k for k, name in enumerate(self.names) if k}
        usable = self.concepts[self.concepts["usable"]]
        for name, rows in usable.groupby("name"):
            if len(rows) == 1:
                found.setdefault(str(name), int(rows["concept"].iloc[0]))
        return found

    @cached_property
    def usable(self) -> np.ndarray:
        """int64, ids of the concepts that labels may name and that these photos show."""
        shown = np.asarray(self.shares.sum(0)).ravel() > 0
        return np.flatnonzero(shown & np.r_[False, self.concepts["usable"].to_numpy()])

    @cached_property
    def with_regions(self) -> np.ndarray:
        """bool (concepts + 1,), by id: usable concepts with regions. Colours and scenes are left
        out, as in Eq. 2, and so is what is said of whole photos."""
        frame = self.concepts
        fits = frame["usable"] & ~frame["category"].isin(LEFT_OUT) & ~frame["whole"].astype(bool)
        found: np.ndarray = np.r_[False, fits.to_numpy(bool)]
        return found

    @cached_property
    def shares(self) -> sparse.csr_array:
        """float64 CSR (photos, concepts + 1): the share of each photo that a concept covers; 1 of
        a concept of the whole photo. Column 0 is empty."""
        areas = self.run.sql("SELECT image, concept, area FROM areas")
        areas = areas[areas["image"].isin(self.numbers)]
        width, height = self.run.settings.grid
        rows = np.searchsorted(self.numbers, areas["image"].to_numpy())
        shares = areas["area"].to_numpy(np.float64) / (width * height)
        return sparse.csr_array(
            (shares, (rows, areas["concept"].to_numpy())), shape=(len(self), len(self.names))
        )

    @property
    def presence(self) -> sparse.csr_array:
        """bool CSR of the shape of :attr:`shares`: is the concept in the photo at all?"""
        return self.shares > 0

    @cached_property
    def whole(self) -> sparse.csr_array:
        """bool CSR like :attr:`shares`, of the concepts of whole photos alone."""
        flags = np.r_[False, self.concepts["whole"].to_numpy(bool)]
        return sparse.csr_array((self.shares > 0).multiply(flags[None, :]))

    def label_maps(self, start: int, stop: int) -> np.ndarray:
        """uint16 (photos, channels, grid height, grid width): ids of the photos of some rows.

        Raises Damaged where an id stands for no concept.
        """
        return np.stack([self.run.label_maps(int(n)) for n in self.numbers[start:stop]])

    def masks(self, formulas: Sequence[Formula], start: int, stop: int) -> np.ndarray:
        """bool (formulas, photos, grid height, grid width): the masks of formulas in the photos
        of some rows. A concept of the whole photo covers all of it."""
        labels = self.label_maps(start, stop)
        return formula_masks(formulas, labels, self.whole[start:stop].toarray())

    def shares_without(self, formulas: Sequence[Formula], row: int, gone: int) -> np.ndarray:
        """float64 (formulas,): the share of one photo that each formula's mask covers where the
        concept `gone` is not annotated."""
        labels = self.label_maps(row, row + 1)
        whole = self.whole[row : row + 1].toarray()
        labels[labels == gone], whole[:, gone] = 0, False
        shares: np.ndarray = formula_masks(formulas, labels, whole).mean((1, 2, 3))
        return shares

    def formula_shares(self, formulas: Sequence[Formula]) -> np.ndarray:
        """float64 (photos, formulas): the share of each photo that a formula's mask covers.

        Single concepts are read from the table of areas; only longer formulas read label maps.
        """
        out = np.zeros((len(self), len(formulas)))
        long = [k for k, formula in enumerate(formulas) if formula.length > 1]
        columns = self.shares.tocsc()
        for k, formula in enumerate(formulas):
            if formula.length == 1:
                out[:, k] = columns[:, [formula.concepts[0]]].toarray()[:, 0]
        for start in range(0, len(self) if long else 0, SHARD):
            stop = min(start + SHARD, len(self))
            masks = self.masks([formulas[k] for k in long], start, stop)
            out[start:stop, long] = masks.mean((2, 3), dtype=np.float64).T
        return out

    @property
    def cell_grid(self) -> tuple[int, int]:
        """(height, width) of the layer's maps."""
        at = self.run.layer(self.layer)
        row = self.run.sql("SELECT height, width FROM layers WHERE layer = ?", [at]).iloc[0]
        return int(row["height"]), int(row["width"])

    def _shards(self) -> Iterator[slice]:
        for start in range(0, len(self), SHARD):
            yield slice(start, min(start + SHARD, len(self)))

    def maps(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Shards of photos: (rows, float32 (photos, units, cells), the layer's maps).

        Raises UnitscopeError where the run keeps no maps.
        """
        kept = self.run.array(f"maps-{self.layer}")
        for rows in self._shards():
            part = np.asarray(kept[self.numbers[rows]], np.float32)
            yield rows, part.reshape(*part.shape[:2], -1)

    def covers(self, formulas: Sequence[Formula]) -> Iterator[tuple[slice, np.ndarray]]:
        """Shards of photos: (rows, float32 (photos, formulas, cells), the share of each cell of the
        layer's maps that a formula's mask covers). The maps are laid over the working grid."""
        height, width = self.cell_grid
        for rows in self._shards():
            means = cell_means(self.masks(formulas, rows.start, rows.stop), height, width)
            cover = means.transpose(1, 0, 2, 3).astype(np.float32)
            yield rows, cover.reshape(*cover.shape[:2], height * width)

    def formula_presence(self, formulas: Sequence[Formula]) -> np.ndarray:
        """float64 (photos, formulas): 1 where a formula is true of what a photo shows, read of
        photos, not of pixels."""
        used = sorted({concept for formula in formulas for concept in formula.concepts})
        at = {concept: k for k, concept in enumerate(used)}
        return presence_of(formulas, at, self.presence.tocsc()[:, used].toarray())

    def predicted(self, labels: Sequence[Terms], of_photos: bool = False) -> np.ndarray:
        """float64 (photos, labels): what each label predicts of a unit's mean activation, up to a
        scale: Σ weight · share of the photo that the formula covers; 0 for a label without terms.

        of_photos : Σ weight · whether the formula is true of the photo, in place of shares.
        """
        formulas, weights = in_columns(labels)
        seen = self.formula_presence if of_photos else self.formula_shares
        predicted: np.ndarray = seen(formulas) @ weights
        return predicted


def formula_masks(formulas: Sequence[Formula], labels: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """bool (formulas, photos, height, width): masks of formulas.

    labels : ids (photos, channels, height, width). whole : bool (photos, concepts + 1), concepts of
    the whole photo.
    """
    held: dict[int, np.ndarray] = {}

    def mask(concept: int) -> np.ndarray:
        if concept not in held:
            here = (labels == concept).any(1)
            held[concept] = here | whole[:, concept, None, None]
        return held[concept]

    out = np.empty((len(formulas), len(labels), *labels.shape[2:]), bool)
    for k, formula in enumerate(formulas):
        out[k] = mask(formula.concepts[0])
        for op, concept in zip(formula.ops[1:], formula.concepts[1:], strict=True):
            if op == OR:
                out[k] |= mask(concept)
            elif op == AND:
                out[k] &= mask(concept)
            elif op == NOT:
                out[k] &= ~mask(concept)
    return out


def presence_of(
    formulas: Sequence[Formula], columns: Mapping[int, int], shown: np.ndarray
) -> np.ndarray:
    """float64 (photos, formulas): 1 where a formula is true of a photo.

    columns : of `shown`, bool (photos, concepts), by concept id.
    """
    out = np.zeros((len(shown), len(formulas)))
    for k, formula in enumerate(formulas):
        true = shown[:, columns[formula.concepts[0]]]
        for op, concept in zip(formula.ops[1:], formula.concepts[1:], strict=True):
            other = shown[:, columns[concept]]
            true = true | other if op == OR else true & (other if op == AND else ~other)
        out[:, k] = true
    return out


def in_columns(labels: Sequence[Terms]) -> tuple[list[Formula], np.ndarray]:
    """The distinct formulas of some labels, and float64 (formulas, labels), their weights."""
    formulas = sorted({formula for terms in labels for _, formula in terms})
    at = {formula: k for k, formula in enumerate(formulas)}
    weights = np.zeros((len(formulas), len(labels)))
    for column, terms in enumerate(labels):
        for weight, formula in terms:
            weights[at[formula], column] += weight
    return formulas, weights


def cell_means(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means of masks (…, H, W) over height × width cells of equal size: float64 (…, height,
    width). A pixel that a boundary cuts counts for both its cells, by its parts.

    >>> cell_means(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]], bool), 1, 2).tolist()
    [[0.4444444444444444, 0.0]]
    """
    rows, columns = _overlap(masks.shape[-2], height), _overlap(masks.shape[-1], width)
    means: np.ndarray = rows @ masks.astype(np.float64) @ columns.T
    return means


def _overlap(pixels: int, cells: int) -> np.ndarray:
    """float64 (cells, pixels): the share of each cell that lies in each pixel."""
    edges = np.linspace(0, pixels, cells + 1)
    pixel = np.arange(pixels)
    low = np.maximum(edges[:-1, None], pixel[None])
    high = np.minimum(edges[1:, None], pixel[None] + 1)
    overlap: np.ndarray = np.clip(high - low, 0, None) * cells / pixels
    return overlap


def open_probe(
    run: Run,
    layer: str | None = None,
    splits: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
) -> Probe:
    """Photos of some splits (all where None) beside a layer's activations (the run's last).

    Raises UnitscopeError for an unknown layer, split or category.
    """
    if splits is not None:
        known_values(run, "split", "images", splits)
    known_values(run, "category", "concepts", categories)
    return Probe(
        run, run.layer_names[run.layer(layer)], tuple(splits or ()), tuple(categories or ())
    )


def held_out(
    run: Run,
    learn: Sequence[str] | None = None,
    judge: Sequence[str] | None = None,
    what: str = "labels",
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(splits that labels are learned from, splits that they are judged by).

    Where they are not given: the run's training split, and its test split, or the validation split
    where it has none (:data:`core.foundation.vocabulary.JUDGING`).
    what : is learned, as messages say it.

    Raises UnitscopeError where the run has no such splits, and where one split is in both.
    """
    known = known_values(run, "split", "images", None)

    def usual(names: Sequence[str], how: str) -> tuple[str, ...]:
        found = [name for name in names if name in known]
        if not found:
            raise UnitscopeError(
                f"the run's splits are {few(known)}: say which photos {what} are {how}"
            )
        return (found[0],)

    learned = (
        tuple(known_values(run, "split", "images", learn))
        if learn
        else usual(LEARNING, "learned from (--learn-on SPLIT)")
    )
    judged = (
        tuple(known_values(run, "split", "images", judge))
        if judge
        else usual(JUDGING, "judged by (--split SPLIT)")
    )
    both = sorted(set(learned) & set(judged))
    if both:
        raise UnitscopeError(
            f"{what} learned from split {both[0]!r} cannot be judged by it: it would judge them by "
            "the photos that they were fitted to"
        )
    return learned, judged
