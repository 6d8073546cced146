"""Measured effects: what the network answers when a concept is taken out of a photo.

The effect of concept c on the margin of class a over class b is

    Δ(c) = [z_a(x) − z_b(x)] − [z_a(x∖c) − z_b(x∖c)]

where z are logits and x∖c is the photo with the concept's region filled
(:mod:`core.attribution.fillings`). Positive: c speaks for a. Logits of all classes are kept, so
that any pair can be asked. A filling changes the photo by more than the concept's absence; so the
same is done to regions of the same shape and size elsewhere in the photo, and an effect counts for
something where it lies outside what those do.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from core.ablation.edits import Change, Edit
from core.ablation.forward import forward_edited
from core.attribution.case import Case, Input, Opened
from core.attribution.fillings import FILLINGS, USUAL, Filling
from core.attribution.regions import Regions
from core.foundation.errors import UnitscopeError, unknown

CONTROLS = 8
"""Regions of the same shape laid elsewhere, for each concept."""

MARGIN = 0.5
"""Cells of the working grid by which a region is widened before it is filled: masks are known cell
by cell, so that along its border a region is part concept, part background, and its outline alone
can be recognised. Of 0, 0.5, 1 and 1.5 cells this agrees best with drawing photos again
(docs/truth.md)."""


@dataclass(frozen=True, eq=False)
class Effects:
    """Logits of one photo with each concept taken out, by each filling.

    Attributes
    ----------
    regions : the photo's concepts, by row.
    fillings : names.
    before : float32 (classes,), of the photo as it is.
    after : float32 (fillings, concepts, classes), with the concept's region filled.
    controls : float32 (fillings, concepts, controls, classes), with a region of the same shape
        elsewhere filled; NaN where a region is so large that it has no elsewhere.
    """

    regions: Regions
    fillings: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    controls: np.ndarray

    def margin(self, a: int, b: int, filling: str | None = None) -> np.ndarray:
        """Δ(c) of every concept on the margin of class a over class b: float64 (concepts,).

        filling : one of them; the mean over all where None.
        """
        lost: np.ndarray = self._lost(self.after, a, b)[self._chosen(filling)].mean(0)
        return lost

    def spread(self, a: int, b: int) -> np.ndarray:
        """float64 (concepts, 2): the least and largest Δ(c) among the fillings."""
        lost = self._lost(self.after, a, b)
        return np.stack([lost.min(0), lost.max(0)], 1)

    def control(self, a: int, b: int, filling: str | None = None) -> np.ndarray:
        """Δ of the regions elsewhere: float64 (concepts, controls), NaN where there are none."""
        lost: np.ndarray = self._lost(self.controls, a, b)[self._chosen(filling)].mean(0)
        return lost

    def answers(self, filling: str) -> np.ndarray:
        """int64 (concepts,), class that the network answers without each concept."""
        answers: np.ndarray = self.after[self.fillings.index(filling)].argmax(-1)
        return answers

    def _lost(self, logits: np.ndarray, a: int, b: int) -> np.ndarray:
        lost: np.ndarray = (
            float(self.before[a])
            - float(self.before[b])
            - (logits[..., a].astype(np.float64) - logits[..., b].astype(np.float64))
        )
        return lost

    def _chosen(self, filling: str | None) -> Sequence[int]:
        if filling is None:
            return range(len(self.fillings))
        if filling not in self.fillings:
            raise unknown("filling that was measured", filling, self.fillings)
        return [self.fillings.index(filling)]


def widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A region with a margin of some pixels around it; the region itself where that would leave
    nothing of the photo.

    >>> widened(np.eye(4, dtype=bool)[1][None], 1)
    array([[ True,  True,  True, False]])
    """
    if pixels < 1 or not mask.any():
        return mask
    wide: np.ndarray = ndimage.binary_dilation(mask, np.ones((3, 3)), pixels)
    return mask if wide.all() else wide


def margin_of(case: Case) -> int:
    """Pixels of a photo, as the network sees it, by which its regions are widened."""
    rows: int = case.opened.run.settings.grid[1]
    return int(MARGIN * case.photo.shape[0] / rows + 0.5)


def elsewhere(mask: np.ndarray, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Regions of the same shape and size, laid at random where the region is not.

    The region, or its mirror image, is moved within the photo: whole, so that shape and size are
    kept. Of all places those are drawn from whose overlap with the region is least, up to a tenth
    of the region; a region that must overlap itself by more has no elsewhere, and gets none.

    >>> moved = elsewhere(np.array([[True, False, False, False]]), 3, np.random.default_rng(0))
    >>> [m.sum() for m in moved], any((m & np.array([[True, False, False, False]])).any()
    ...                               for m in moved)
    ([np.int64(1), np.int64(1), np.int64(1)], False)
    """
    rows, columns = np.nonzero(mask)
    top, left = rows.min(), columns.min()
    patch = mask[top : rows.max() + 1, left : columns.max() + 1]
    height, width = patch.shape
    down, across = mask.shape[0] - height + 1, mask.shape[1] - width + 1
    most = 0.1 * patch.sum()
    found: list[np.ndarray] = []
    for _ in range(count * 25):
        if len(found) == count:
            break
        y, x = int(rng.integers(down)), int(rng.integers(across))
        turned = patch[:, ::-1] if rng.random() < 0.5 else patch
        if (mask[y : y + height, x : x + width] & turned).sum() <= most:
            laid = np.zeros_like(mask)
            laid[y : y + height, x : x + width] = turned
            found.append(laid)
    return found


def measure(
    case: Case,
    fillings: Sequence[str] = USUAL,
    controls: int = CONTROLS,
    seed: int = 0,
) -> Effects:
    """Take each concept out of a photo, by each filling, and run the network again.

    fillings : of :data:`core.attribution.fillings.FILLINGS`. controls : regions elsewhere for each
        concept; 0 for none. seed : of their places and of noise.

    Raises UnitscopeError for an unknown filling, for none, and where a filling cannot be made here.
    """
    after, beside = _measured(case, fillings, controls, seed, True)
    return Effects(case.regions, tuple(fillings), case.logits, after, beside)


def measure_elsewhere(
    case: Case, fillings: Sequence[str], controls: int, seed: int = 0
) -> np.ndarray:
    """:attr:`Effects.controls` of :func:`measure` alone: the network is not run on the photo
    without its concepts. Raises UnitscopeError as that does."""
    return _measured(case, fillings, controls, seed, False)[1]


def _measured(
    case: Case, fillings: Sequence[str], controls: int, seed: int, own: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(after, controls) of :class:`Effects`; `after` is NaN where the concepts' `own` regions are
    not asked for."""
    if not fillings:
        raise UnitscopeError(f"no filling was chosen; there are {', '.join(FILLINGS.names())}")
    fill = [FILLINGS.row(name).load() for name in fillings]
    margin = margin_of(case)
    masks = [widened(mask, margin) for mask in case.regions.masks]
    laid: list[np.ndarray] = []
    places: list[tuple[int, int]] = []
    for row, mask in enumerate(masks):
        rng = np.random.default_rng([seed, case.image, int(case.regions.ids[row])])
        for k, moved in enumerate(elsewhere(mask, controls, rng) if controls else []):
            laid.append(moved)
            places.append((row, k))
    classes, concepts = len(case.logits), len(masks)
    after = np.full((len(fillings), concepts, classes), np.nan, np.float32)
    beside = np.full((len(fillings), concepts, controls, classes), np.nan, np.float32)

    def photos(name: str, filled: Filling) -> np.ndarray:
        rng = np.random.default_rng([seed, case.image, zlib.crc32(name.encode())])
        fresh, made = rng.bit_generator.state, []
        for mask in masks:
            made.append(filled(case.photo, mask, rng))
            if not own and rng.bit_generator.state == fresh:
                break  # nothing is drawn for the region, so what follows does not hang on it
        made = [*(made if own else ()), *(filled(case.photo, region, rng) for region in laid)]
        return np.stack(made) if made else np.empty((0, *case.photo.shape), np.uint8)

    # Filled on threads of their own, by code that lets go of Python's lock, while the network runs.
    with ThreadPoolExecutor(len(fill)) as threads:
        wanted = [threads.submit(photos, *one) for one in zip(fillings, fill, strict=True)]
        for f, one in enumerate(wanted):
            logits = case.opened.logits(one.result())
            if own:
                after[f] = logits[:concepts]
            for (row, k), gave in zip(
                places, logits[-len(places) :] if places else (), strict=True
            ):
                beside[f, row, k] = gave
    return after, beside


def edited(case: Case, concepts: Sequence[int], filling: str, seed: int = 0) -> np.ndarray:
    """The photo with some concepts (ids) taken away together: uint8 (height, width, 3), as
    :func:`measure` takes each alone.

    Raises UnitscopeError for a concept that the photo does not show, an unknown filling, and where
    nothing would be left.
    """
    here = {int(concept): row for row, concept in enumerate(case.regions.ids)}
    for concept in concepts:
        if concept not in here:
            raise UnitscopeError(f"this photo shows no concept number {concept}")
    if not concepts:
        return case.photo
    together = np.any(case.regions.masks[[here[concept] for concept in concepts]], axis=0)
    region = widened(together, margin_of(case))
    if region.all():
        raise UnitscopeError("nothing of the photo would be left without these concepts")
    rng = np.random.default_rng([seed, case.image, zlib.crc32(filling.encode())])
    filled: np.ndarray = FILLINGS.row(filling).load()(case.photo, region, rng)
    return filled


def without_units(photo: Input, units: Sequence[int]) -> np.ndarray:
    """float32 (classes,): the network's logits for one photo with some units of the layer disabled,
    their maps 0 everywhere, in the network itself.

    Behind a linear head the margin z_a − z_b loses by it the sum of these units' evidence
    (:mod:`core.attribution.evidence`), up to rounding. Raises UnitscopeError for a unit that the
    layer does not have or that is named twice, and where the network gives what is no finite
    number.
    """
    opened = photo.opened
    change = Change.of(Edit(tuple(units)), opened.recorded.pooled.shape[1])
    with opened.lock:
        inputs = opened.forward.inputs(photo.photo[None])
        gave = forward_edited(opened.forward.module, opened.recorded.layer, inputs, change)
    logits: np.ndarray = gave[0].cpu().numpy()
    if not np.isfinite(logits).all():
        raise UnitscopeError("the network gives what is no finite number without these units")
    return logits


def open_photo(opened: Opened, image: str) -> Case:
    """One photo by its id. Raises UnitscopeError for an unknown id (nearest)."""
    ids = opened.recorded.images["id"]
    here = np.flatnonzero(ids.to_numpy() == image)
    if not len(here):
        raise unknown("image of this run", image, ids)
    return opened.case(int(opened.recorded.numbers[here[0]]))
