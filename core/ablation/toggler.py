"""A layer of a run made ready, so that the effect of any edit can be asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from core.ablation.edits import Change, Edit, Edits, as_edits
from core.ablation.forward import copied, forward_edited, tail_of
from core.ablation.images import choose, class_names, dataset_photos, images_of, stored_photos
from core.ablation.kernels import Predictions, add_and_judge, follow, in_parts, judge
from core.ablation.result import Estimate, Toggled
from core.ablation.strategies import WAYS, Proof, Source, Tail, Whole
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_whole
from core.foundation.geometry import Preprocessing
from core.foundation.progress import Hooks, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.head import CLOSE, PROBES, agree, batch_words, by_batch, first_of, linear_head
from core.models.hooks import as_maps, find_layer, tokens_beside
from core.runs.arrays import read_arrays
from core.runs.run_file import Run, derived

SHARD = 64
"""Images that are replayed between two reports."""

REBASE = 64
"""Single changes after which a :class:`Live` set is computed anew, so that rounding of one after
the other never adds up."""


class Toggler:
    """One layer of a run made ready, so that any set of units can be asked for.

    Make it with :func:`prepare`.

    Attributes
    ----------
    layer, way : the layer's name, and which of :data:`WAYS` tells.
    names : of the classes.
    images : see :func:`images_of`; row r of everything here is its row r.
    target : int32 (images,), class of the true scene, −1 where the network does not know it.
    pooled : float32 (images, units), mean of each map.
    weights : float32 (units, classes) of the linear head; None except in closed form.
    check : how the way was decided: ``agreement`` (largest difference between it and a forward
        hook that changes the layer, on a few stored photos, as a share of the largest logit),
        ``recorded`` (the same between its unedited logits and the recorded ones, on all images;
        in closed form from the start, otherwise once all were replayed), ``flipped`` (images
        whose unedited prediction is not the recorded one), ``why`` (in words), and where there
        is a linear head ``probes`` (kind of edit → the agreement found for it).
    """

    def __init__(
        self,
        pooled: np.ndarray,
        base: np.ndarray,
        images: pd.DataFrame,
        names: list[str],
        *,
        weights: np.ndarray | None = None,
        source: Source | None = None,
        layer: str = "",
        way: str = WAYS[0],
        check: dict[str, Any] | None = None,
        run: Run | None = None,
        proof: Proof | None = None,
    ):
        self._proof = proof
        self.pooled, self.weights, self.layer, self.way = pooled, weights, layer, way
        self.images, self.names, self._run = images, names, run
        self.check: dict[str, Any] = check or {}
        self.target = images["target"].to_numpy(np.int32)
        self.units = pooled.shape[1]
        self._source, self._lock = source, threading.Lock()
        self._slower: Toggler | None = None
        # Unedited logits; NaN in rows that were not replayed yet.
        self._base = base
        if weights is not None:
            self._by_unit = np.ascontiguousarray(pooled.T)
            self._recorded = judge(base, self.target)

    @property
    def run(self) -> Run:
        """The run that this is a layer of."""
        if self._run is None:
            raise UnitscopeError("this toggler was made of bare arrays, not of a run")
        return self._run

    # -- unedited ---------------------------------------------------------------------------

    def _kept(self) -> Path:
        """Where the replayed unedited logits lie, beside the run."""
        photos = self.check.get("photos", "")
        facts = [self.layer, self.way, photos, versions_of("replay")]
        return derived(self.run, "replayed", facts, "npy")

    def logits(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes), replayed first where they must be."""
        rows = self.every if rows is None else rows
        if self._source is not None:
            lacking = rows[np.isnan(self._base[rows, 0])]
            if len(lacking):
                for _ in self._replay(lacking, [], **hooks):
                    pass
        return self._base[rows]

    def unedited(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit, of :attr:`way`."""
        rows = self.every if rows is None else rows
        if self._source is None:
            return Predictions(self._recorded.predicted[rows], self._recorded.larger[rows])
        return judge(self.logits(rows, **hooks), self.target[rows])

    @cached_property
    def every(self) -> np.ndarray:
        """All rows."""
        return np.arange(len(self.images))

    # -- edited -----------------------------------------------------------------------------

    def answering(self, edits: Edits) -> Toggler:
        """What tells the effect of these edits: this toggler, or, where its closed form fails for
        edits of their kind, one of the same layer that runs the network.

        Raises UnitscopeError for a unit that does not exist.
        """
        if self._proof is None:
            return self
        change = Change.of(edits, self.units)
        pairs = sorted(set(zip(change.scale.tolist(), change.shift.tolist(), strict=True)))
        failed = next((pair for pair in pairs if not self._proof.holds(*pair)), None)
        if failed is None:
            return self
        if self._slower is None:
            self._slower = prepare(
                self.run,
                self.layer,
                closed=f"the closed form fails for {self._proof.told(*failed)}",
            )
        return self._slower

    def predict(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> Predictions:
        """What the network says of some rows (all where None) under edits.

        In closed form milliseconds; otherwise the network's tail is run, with ``progress`` (called
        with an :class:`Estimate`) and ``stop`` (asked; :class:`Stopped` is raised) once a shard.
        Raises UnitscopeError for a unit that does not exist.
        """
        teller = self.answering(edits)
        if teller is not self:
            return teller.predict(edits, rows, **hooks)
        change = Change.of(edits, self.units)
        if self.weights is None:
            rows = self.every if rows is None else rows
            return judge(self._replayed(rows, change, **hooks), self.target[rows])
        at = change.touched
        # scale·x + shift less x, as (scale − 1)·x·W and one offset for all images.
        weights = (change.scale[at] - 1)[:, None] * self.weights[at]
        offset = change.shift[at] @ self.weights[at]
        by_unit = self._by_unit
        if rows is not None:
            by_unit, at = by_unit[np.ix_(at, rows)], np.arange(len(at))
        base = self._base if rows is None else self._base[rows]
        target = self.target if rows is None else self.target[rows]
        predicted, larger = np.empty(len(base), np.int32), np.empty(len(base), np.int32)
        in_parts(
            lambda a, b: add_and_judge(
                base, by_unit, at, weights, offset, target, a, b, predicted, larger
            ),
            len(base),
        )
        return Predictions(predicted, larger)

    def logits_after(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> np.ndarray:
        """Logits float32 (rows, classes) under edits."""
        teller = self.answering(edits)
        if teller is not self:
            return teller.logits_after(edits, rows, **hooks)
        change = Change.of(edits, self.units)
        if self.weights is None:
            return self._replayed(self.every if rows is None else rows, change, **hooks)
        rows = self.every if rows is None else rows
        at = change.touched
        moved = self.pooled[np.ix_(rows, at)] * (change.scale[at] - 1) + change.shift[at]
        return self._base[rows] + moved @ self.weights[at]

    def toggle(
        self,
        edits: Edits,
        scene: str | None = None,
        splits: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
        **hooks: Unpack[Hooks],
    ) -> Toggled:
        """What edits do to all images, or to those of a scene, of splits, among ids or in rows.

        Raises UnitscopeError for unknown units, scenes, splits, ids, and where no image is left.
        """
        began = time.perf_counter()
        teller = self.answering(edits)
        if teller is not self:
            return teller.toggle(edits, scene, splits, ids, rows, **hooks)
        whole = scene is None and not splits and ids is None and rows is None
        if rows is not None and not len(rows):
            raise UnitscopeError("no image was chosen")
        if rows is None and not whole:
            rows = choose(self.images, scene, splits, ids)
        after = self.predict(edits, rows, **hooks)
        before = self.unedited(rows, **hooks)
        parts = [f"scene {scene}"] if scene else []
        parts += [f"split {', '.join(splits)}"] if splits else []
        parts += ["chosen images"] if ids is not None or (rows is not None and not parts) else []
        return Toggled(
            as_edits(edits),
            self.layer,
            self.way,
            ", ".join(parts) or "all images",
            self.images if rows is None else self.images.iloc[rows].reset_index(drop=True),
            before,
            after,
            self.names,
            time.perf_counter() - began,
        )

    def sweep(
        self,
        rows: np.ndarray,
        orders: np.ndarray,
        at: Sequence[int] | None = None,
        **hooks: Unpack[Hooks],
    ) -> Iterator[tuple[int, Predictions]]:
        """(k, predictions of the rows) with each row's first k units disabled, for k in `at`.

        orders : int (rows, most), each row's own units, the first to go first; −1 = none. One
        row of orders serves all. at : values of k, ascending; 1 … most where None.
        """
        orders = np.broadcast_to(orders, (len(rows), orders.shape[1]))
        wanted = list(range(1, orders.shape[1] + 1)) if at is None else sorted(at)
        if wanted and not 0 <= wanted[0] <= wanted[-1] <= orders.shape[1]:
            raise UnitscopeError(f"k runs from 0 to {orders.shape[1]}")
        if self.weights is None:
            # Judged shard by shard: logits of all images under every k would not fit.
            told = [Predictions(*np.empty((2, len(rows)), np.int32)) for _ in wanted]
            nothing = np.zeros(self.units, np.float32)

            def off(k: int, places: np.ndarray) -> Change:
                scale = np.ones((len(places), self.units), np.float32)
                row, column = np.nonzero(orders[places, :k] >= 0)
                scale[row, orders[places[row], column]] = 0.0
                return Change(scale, np.broadcast_to(nothing, scale.shape))

            for places, each in self._replay(rows, [partial(off, k) for k in wanted], **hooks):
                for whole, logits in zip(told, each, strict=True):
                    part = judge(logits, self.target[rows[places]])
                    whole.predicted[places], whole.larger[places] = part
            yield from zip(wanted, told, strict=True)
            return
        logits, target = self._base[rows], self.target[rows]
        predicted, larger = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
        weights = self.weights
        if 0 in wanted:
            yield 0, self.unedited(rows)
        for k in range(1, (wanted[-1] if wanted else 0) + 1):
            unit = np.ascontiguousarray(orders[:, k - 1], np.int32)
            moved = -self.pooled[rows, np.maximum(unit, 0)]
            in_parts(
                lambda a, b, u=unit, m=moved: follow(  # type: ignore[misc]
                    logits, u, m, weights, target, a, b, predicted, larger
                ),
                len(rows),
            )
            if k in wanted:
                yield k, Predictions(predicted.copy(), larger.copy())

    def live(self, edits: Edits = ()) -> Live:
        """A set of edits that is changed one unit at a time (closed form only)."""
        if self.weights is None:
            raise UnitscopeError(
                f"single changes are followed in closed form only; layer {self.layer!r} needs a "
                f"{self.way}: {self.check['why']}"
            )
        return Live(self, edits)

    # -- replay -----------------------------------------------------------------------------

    def _replayed(self, rows: np.ndarray, change: Change, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Logits of the rows under one change."""
        out = np.empty((len(rows), self._base.shape[1]), np.float32)
        for places, (told,) in self._replay(rows, [lambda _places: change], **hooks):
            out[places] = told
        return out

    def _replay(
        self,
        rows: np.ndarray,
        changes: Sequence[Callable[[np.ndarray], Change]],
        progress: Report | None = None,
        stop: Stop = never,
        seed: int = 0,
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """(places in `rows`, logits under every change of these places), shard by shard in random
        order, so that what is done at any moment is a fair sample of the whole."""
        assert self._source is not None
        nothing = Change.nothing(self.units)
        began = time.monotonic()
        done = scored = right_before = right_after = gained = lost = 0
        for places in self._shards(rows, seed):
            if stop():
                raise Stopped(
                    f"stopped after {done} of {len(rows)} images: change of accuracy so far "
                    f"{gained - lost} of {scored}"
                )
            here = rows[places]
            # The network is shared by whoever holds this toggler, and hooks change it.
            with self._lock:
                loaded = self._source.load(self.images["image"].to_numpy()[here])
                if np.isnan(self._base[here, 0]).any():
                    self._base[here] = self._finite(self._source.logits(loaded, nothing), here)
                told = [
                    self._finite(self._source.logits(loaded, change(places)), here, " once edited")
                    for change in changes
                ]
            yield places, told
            done += len(places)
            known = self.target[here] >= 0
            before = judge(self._base[here], self.target[here]).predicted
            last = judge(told[-1], self.target[here]).predicted if told else before
            was, now = ((p == self.target[here])[known] for p in (before, last))
            scored += int(known.sum())
            right_before += int(was.sum())
            right_after += int(now.sum())
            gained += int((now & ~was).sum())
            lost += int((was & ~now).sum())
            if progress:
                rate = done / max(1e-9, time.monotonic() - began)
                progress(
                    Estimate(
                        "replay",
                        done,
                        len(rows),
                        rate,
                        (len(rows) - done) / rate,
                        scored=scored,
                        right_before=right_before,
                        right_after=right_after,
                        gained=gained,
                        lost=lost,
                    )
                )
        self._keep_base()

    def _shards(self, rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """Places in `rows`, in random order: so many at a time, or, where photos of a batch change
        each other's answers, those of one of the run's batches."""
        rng = np.random.default_rng(seed)
        batch = getattr(self._source, "batch", 0)
        if batch:
            of = self.images["image"].to_numpy()[rows] // batch
            for number in rng.permutation(np.unique(of)):
                yield np.flatnonzero(of == number)
            return
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), SHARD):
            yield np.sort(order[start : start + SHARD])

    def _finite(self, logits: np.ndarray, rows: np.ndarray, when: str = "") -> np.ndarray:
        """The logits as they are; raises where one is no finite number, naming image and class."""
        bad = np.argwhere(~np.isfinite(logits))
        if len(bad):
            row, column = bad[0]
            raise UnitscopeError(
                f"image {self.images['id'].iloc[rows[row]]!r}{when}: the network gives "
                f"{logits[row, column]} for class {self.names[column]!r}, not a finite number"
            )
        return logits

    def _keep_base(self) -> None:
        """Once all are replayed: say how far they are from the recorded ones, keep them."""
        if "recorded" in self.check or np.isnan(self._base[:, 0]).any():
            return
        recorded = np.asarray(self.run.array("logits"))[self.images["image"].to_numpy()]
        self.check["recorded"] = agree(self._base, recorded)
        own = self.images["predicted"].to_numpy()
        self.check["flipped"] = int((self._base.argmax(1) != own).sum())

        def save(path: Path) -> None:
            with path.open("wb") as f:
                np.save(f, self._base)

        if not self._kept().exists():
            write_whole(self._kept(), save)


class Live:
    """A set of edited units that changes one unit at a time: one rank-one update a change.

    Attributes
    ----------
    scale, shift : float32 (units,), the edits now in place.
    told : predictions under them, over all images of the toggler.
    """

    def __init__(self, toggler: Toggler, edits: Edits = ()):
        self._toggler = toggler
        self._check(edits)
        self.scale, self.shift = Change.of(edits, toggler.units)
        self._changes = 0
        self._rebase()

    def _check(self, edits: Edits) -> None:
        teller = self._toggler.answering(edits)
        if teller is not self._toggler:
            raise UnitscopeError(
                f"single changes are followed in closed form only: {teller.check['why']}"
            )

    def _rebase(self) -> None:
        way, change = self._toggler, Change(self.scale, self.shift)
        at = change.touched
        moved = way.pooled[:, at] * (change.scale[at] - 1) + change.shift[at]
        assert way.weights is not None
        self._logits = way._base + moved @ way.weights[at]
        self.told = judge(self._logits, way.target)

    def change(self, unit: int, factor: float = 1.0, clamp: float | None = None) -> Predictions:
        """Put one unit at a factor (0 disables it, 1 gives it back) or clamp it; predictions."""
        way = self._toggler
        edit = Edit((unit,), 0.0 if clamp is not None else factor, clamp)
        self._check(edit)
        fresh = Change.of(edit, way.units)
        scale, shift = fresh.scale[unit], fresh.shift[unit]
        by, on = scale - self.scale[unit], shift - self.shift[unit]
        self.scale[unit], self.shift[unit] = scale, shift
        self._changes += 1
        if self._changes % REBASE == 0:
            self._rebase()
            return self.told
        moved = way._by_unit[unit] * by + on
        units = np.full(len(moved), unit, np.int32)
        predicted, larger = np.empty(len(moved), np.int32), np.empty(len(moved), np.int32)
        logits, target = self._logits, way.target
        weights = way.weights
        assert weights is not None
        in_parts(
            lambda a, b: follow(logits, units, moved, weights, target, a, b, predicted, larger),
            len(moved),
        )
        self.told = Predictions(predicted, larger)
        return self.told


NO_HEAD = "the head is not an average and one linear layer"


def _closed_form(
    run: Run,
    name: str,
    module: nn.Module,
    inputs: Tensor,
    maps: Tensor,
    off: np.ndarray,
    pooled: np.ndarray,
    recorded: np.ndarray,
    images: pd.DataFrame,
) -> Toggler | tuple[str, dict[str, float]]:
    """The layer in closed form, or why that is refused and what the probes gave.

    inputs, maps : of the photos compared, and the layer's maps of them. off : units edited there.
    pooled, recorded : the run's means and logits of all `images`.
    """
    head = linear_head(module, name, inputs)
    if head is None:
        return NO_HEAD, {}
    _, weights, bias = head
    proof = Proof(
        run,
        name,
        module,
        inputs,
        maps.mean((2, 3)).numpy(),
        weights,
        bias,
        off,
        max(1.0, float(maps.abs().max())),
    )
    probes, head_is = proof.probes, "one linear layer reads the means of its maps"
    for kind in ("unedited", "disabled"):
        if kind not in proof.reach:
            return (
                f"{head_is}, but with units {kind} it differs from a forward hook by "
                f"{probes[kind]:.1e}"
            ), probes
    base = pooled @ weights + bias
    gap = agree(base, recorded)
    # Recorded in bfloat16, a sum of products is off by a few of its units in the last place.
    mixed = run.info["settings"]["precision"] != "float32"
    if gap > (4 * torch.finfo(torch.bfloat16).eps if mixed else 10 * CLOSE):
        worst = int(np.abs(base - recorded).max(1).argmax())
        return (
            f"{head_is} on the photos compared, but logits from the recorded means differ from the "
            f"recorded logits by up to {gap:.1e} of the largest "
            f"(image {images['id'].iloc[worst]!r})"
        ), probes
    why = "the means of its maps go through one linear layer to the output"
    if gap <= 10 * CLOSE:
        base = recorded
    else:
        why += (
            f"; recorded logits, in mixed precision, differ from it by up to {gap:.1e} of the "
            "largest, so unedited logits are computed too"
        )
    failed = [f"units {kind} (by {probes[kind]:.1e})" for kind in probes if kind not in proof.reach]
    if failed:
        why += f"; this fails for {', '.join(failed)}: such edits run the network"
    check = {
        "agreement": max(probes[kind] for kind in proof.reach),
        "recorded": gap,
        "why": why,
        "probes": probes,
        "flipped": int((base.argmax(1) != images["predicted"].to_numpy()).sum()),
    }
    return Toggler(
        pooled,
        base,
        images,
        class_names(run),
        weights=weights,
        layer=name,
        check=check,
        run=run,
        proof=proof,
    )


def prepare(
    run: Run, layer: str | None = None, model: LoadedModel | None = None, closed: str = ""
) -> Toggler:
    """Make a layer of a run ready for toggling: find the way that is exact, by a check.

    On a few stored photos, random units are edited by a forward hook; a way is taken only if it
    gives the same logits to within :data:`CLOSE`. Closed form is tried first, each kind of edit
    (:func:`kind_of`) for itself, and only if it gives the run's recorded logits; then the tail.

    model : the run's network, where it is open already; it must not be shared with others.
    closed : why closed form is not to be taken, where it is not.
    Raises UnitscopeError where the run has no layers, its network is no longer the same, or its
    logits are no finite numbers.
    """
    number = run.layer(layer)
    name = run.layer_names[number]
    run.need_answers("what switching units off does")
    settings = run.info["settings"]
    loaded = model or open_model(run)
    forward = Forward(loaded, [name])
    images = images_of(run)
    numbers = images["image"].to_numpy()
    if not len(numbers):
        raise UnitscopeError(f"run {run.digest} has no images")
    pooled = np.ascontiguousarray(run.array(f"pooled-{name}")[numbers])
    recorded = np.ascontiguousarray(run.array("logits")[numbers])
    if not (np.isfinite(recorded).all() and np.isfinite(pooled).all()):
        bad = np.flatnonzero(~(np.isfinite(recorded).all(1) & np.isfinite(pooled).all(1)))
        raise UnitscopeError(
            f"run {run.digest} holds logits or means that are not finite numbers, of "
            f"{len(bad)} image{'s' * (len(bad) > 1)} ({images['id'].iloc[bad[0]]!r}); make it "
            "again with --fresh, which leaves such images out"
        )
    units = pooled.shape[1]
    picks = np.linspace(0, len(numbers) - 1, min(PROBES, len(numbers))).astype(int)
    inputs = forward.inputs(stored_photos(run, loaded.preprocessing, numbers[picks]))
    rng = np.random.default_rng(0)
    off = np.sort(rng.choice(units, max(1, units // 4), replace=False))
    change = Change.of(Edit(tuple(off)), units)
    hooked = forward_edited(loaded.module, name, inputs, change).numpy()
    raw: list[Any] = []
    handle = find_layer(loaded.module, name).register_forward_hook(
        lambda _m, _a, output: raw.append(copied(output))
    )
    try:
        with torch.inference_mode():
            plain = first_of(loaded.module(inputs)).numpy()
    finally:
        handle.remove()
    shape = (inputs.shape[2], inputs.shape[3])
    maps = as_maps(raw[0], name, shape).float()
    path = closed or NO_HEAD
    probes: dict[str, float] = {}
    if not closed:
        told = _closed_form(run, name, loaded.module, inputs, maps, off, pooled, recorded, images)
        if isinstance(told, Toggler):
            return told
        path, probes = told
    tail, check = _tail_source(
        run, loaded.module, name, raw, maps, change, plain, hooked, shape, path
    )
    if probes:
        check["probes"] = probes
    if np.array_equal(hooked, plain):
        check["why"] = (
            f"{check['why']}; with a quarter of its units disabled the network answers the same to "
            "the last bit on the photos compared: its answer does not come from these maps"
        )
    source: Source
    if tail is not None:
        way, source = WAYS[1], tail
    else:
        way = WAYS[2]
        words = batch_words(loaded.module, inputs)
        source, check["photos"], said = _whole_source(
            run,
            forward,
            loaded.preprocessing,
            name,
            numbers[picks],
            recorded[picks],
            numbers,
            settings["batch"] if words else 0,
        )
        check["why"] = f"{check['why']}; the network runs whole, on {said}"
        if words:
            check["why"] += f", in the run's own batches of {settings['batch']} ({words})"
    base = np.full(recorded.shape, np.nan, np.float32)
    toggler = Toggler(
        pooled,
        base,
        images,
        class_names(run),
        source=source,
        layer=name,
        way=way,
        check=check,
        run=run,
    )
    if settings["precision"] != "float32":
        check["why"] += "; the run was recorded in mixed precision and is replayed in float32"
    kept = (read_arrays(toggler._kept()) or {}).get("array")
    if kept is not None and kept.shape == base.shape and kept.dtype == base.dtype:
        toggler._base = kept
        toggler._keep_base()
    return toggler


def _tail_source(
    run: Run,
    module: nn.Module,
    name: str,
    raw: list[Any],
    maps: Tensor,
    change: Change,
    plain: np.ndarray,
    hooked: np.ndarray,
    shape: tuple[int, int],
    path: str,
) -> tuple[Tail | None, dict[str, Any]]:
    """The tail of the network where it is exact, and what the check said; `path` says why it is
    not the closed form."""

    def none(why: str) -> tuple[None, dict[str, Any]]:
        return None, {"agreement": 0.0, "why": f"{path}, and {why}"}

    if not run.info["settings"]["keep_maps"]:
        return none("the run kept no maps (--no-maps)")
    stored = run.array(f"maps-{name}")
    if not isinstance(raw[0], Tensor):
        return none(f"the layer gives {type(raw[0]).__name__}, of which one tensor was recorded")
    apart = tokens_beside(raw[0], shape)
    beside = None
    if apart is not None:
        try:
            beside = run.array(f"beside-{name}")
        except UnitscopeError:
            return none(
                f"the run did not record the layer's {apart.shape[1]} tokens beside its maps"
            )
    if maps.shape[1:] != stored.shape[1:]:
        return none(f"the recorded maps are {stored.shape[1:]}, not {tuple(maps.shape[1:])}")
    graph = tail_of(module, name)
    if graph is None:
        return none(
            "what follows the layer cannot be cut off: the network cannot be traced, or its "
            "output also depends on what runs past the layer"
        )
    last = raw[0].ndim == 4 and raw[0].is_contiguous(memory_format=torch.channels_last)
    tail = Tail(stored, beside, graph, name, raw[0].shape, shape, last)
    norms = by_batch(graph)
    if norms:
        return none(
            f"what follows the layer normalises by the batch at hand ({norms[0]}), so that a "
            "replay in other batches would answer otherwise"
        )
    nothing = Change.nothing(len(change.scale))
    agreement = max(
        agree(tail.logits((maps, apart), nothing), plain),
        agree(tail.logits((maps, apart), change), hooked),
    )
    first = (maps[:1], None if apart is None else apart[:1])
    try:
        alone = agree(tail.logits(first, nothing), plain[:1])
    except (ValueError, RuntimeError):  # a batch norm that one value a channel does not do for
        alone = float("inf")
    if alone > CLOSE >= agreement:
        return none(
            f"what follows the layer answers otherwise for a photo alone (by {alone:.1e}), so that "
            "a replay in other batches would differ"
        )
    if agreement > CLOSE:
        return none(f"the tail cut off behind the layer differs by {agreement:.1e}")
    kind = run.info["settings"]["map_type"]
    why = f"{path}; what follows the layer is run again on its {kind} maps"
    if kind == "float16":
        rounded = (maps.half().float(), None if apart is None else apart.half().float())
        moved = agree(tail.logits(rounded, nothing), plain)
        why += (
            f", and that rounding moves the logits of the photos compared by up to {moved:.1e} of "
            "the largest"
        )
    return tail, {"agreement": agreement, "why": why}


def _whole_source(
    run: Run,
    forward: Forward,
    way: Preprocessing,
    name: str,
    picks: np.ndarray,
    recorded: np.ndarray,
    images: np.ndarray,
    batch: int,
) -> tuple[Whole, str, str]:
    """The whole network, which photos it runs on (``dataset`` if they still give the recorded
    logits, else ``stored``), and that in words."""

    def on(photos: Callable[[np.ndarray], np.ndarray]) -> Whole:
        return Whole(forward, name, photos, batch, images, run.info["images"]["planned"])

    try:
        source = on(dataset_photos(run, way))
        units = run.array(f"pooled-{name}").shape[1]
        gave = source.logits(source.load(picks), Change.nothing(units))
        if agree(gave, recorded) <= 10 * CLOSE:
            return source, "dataset", "the dataset's photos"
        gone = "the dataset's photos no longer give the recorded logits"
    except (UnitscopeError, KeyError, OSError) as err:
        gone = f"the dataset cannot be read ({err})"
    return (
        on(lambda some: stored_photos(run, way, some)),
        "stored",
        f"the run's stored photos (JPEG): {gone}",
    )
