"""`Toggler`: a layer of a run, prepared to compute the effect of any edit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Unpack

import numpy as np
import pandas as pd

from core.ablation.check import Check
from core.ablation.closed_form import ClosedForm
from core.ablation.edits import Change, Edit, Edits, as_edits
from core.ablation.images import choose
from core.ablation.kernels import Predictions, follow, in_parts, judge
from core.ablation.recorded import BLOCK, Recorded
from core.ablation.result import Estimate, Toggled
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Hooks, Progress
from core.runs.run_file import Run

if TYPE_CHECKING:
    from core.ablation.replay import Replay
    from core.models.base import LoadedModel

REBASE = 64
"""Single changes after which a :class:`Live` set is computed anew, so that rounding of one after
the other never adds up."""


def prepare(
    run: Run, layer: str | None = None, model: LoadedModel | None = None, closed: str = ""
) -> Toggler:
    """Make a layer of a run ready for toggling, by the first strategy that agrees
    (:mod:`core.ablation.strategies`).

    What was found of a closed form is kept beside the run, and taken from there the next time:
    the network is opened only where none was found, or for an edit of a kind not tried before.

    model : the run's network, where it is open already; it must not be shared with others.
    closed : why closed form is not to be taken, where it is not.
    Raises UnitscopeError where the run has no layers, its network is no longer the same, or its
    logits are no finite numbers.
    """
    recorded = Recorded.of(run, layer)
    if model is None and not closed:
        found = ClosedForm.kept(recorded, partial(_attempt, recorded))
        if found is not None:
            return Toggler(recorded, found)
    # Here, as both bring PyTorch along: half of the time of one toggle.
    from core.ablation.strategies import agreed
    from core.ablation.subject import Subject

    answers = agreed(Subject.of(recorded, model), closed)
    if isinstance(answers, ClosedForm):
        with suppress(UnitscopeError):  # no right to write: it is found anew
            answers.keep()
    return Toggler(recorded, answers)


def _attempt(recorded: Recorded, scale: float, shift: float) -> float:
    from core.ablation.strategies import attempt_again

    return attempt_again(recorded, scale, shift)


class Toggler:
    """One layer of a run, with the strategy that answers for it.

    Make it with :func:`prepare`, or of bare arrays with :meth:`linear`.

    Attributes
    ----------
    recorded, answers : what the run holds of the layer, and the strategy.
    layer, method : the layer's name, and which of :data:`core.ablation.check.METHODS` answers.
    names : of the classes.
    images : see :func:`core.ablation.images.images_of`; row r of everything here is its row r.
    target : int32 (images,), class of the true scene, −1 where the network does not know it.
    pooled : float32 (images, units), mean of each map.
    weights : float32 (units, classes) of the linear head; None except in closed form.
    check : how the method was decided on.
    """

    def __init__(self, recorded: Recorded, answers: ClosedForm | Replay):
        self.recorded, self.answers = recorded, answers
        self.layer, self.method = recorded.layer, answers.name
        self.images, self.names = recorded.images, recorded.names
        self.pooled, self.target, self.every = recorded.pooled, recorded.target, recorded.every
        self.units = recorded.pooled.shape[1]
        self.weights = answers.weights
        self._slower: Toggler | None = None

    @classmethod
    def linear(
        cls,
        pooled: np.ndarray,
        logits: np.ndarray,
        weights: np.ndarray,
        images: pd.DataFrame,
        names: list[str],
    ) -> Toggler:
        """In closed form, of bare arrays: means, unedited logits, weights of the head."""
        recorded = Recorded(None, "", images, names, pooled, logits)
        return cls(recorded, ClosedForm(recorded, weights, logits))

    @property
    def run(self) -> Run:
        """The run that this is a layer of."""
        return self.recorded.run

    @property
    def check(self) -> Check:
        """How the method was decided on; complete once all images were replayed."""
        return self.answers.check

    # -- unedited ---------------------------------------------------------------------------

    def logits(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes), replayed first where they must be."""
        return self.answers.logits(self.every if rows is None else rows, **hooks)

    def unedited(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit, by :attr:`method`."""
        return self.answers.unedited(self.every if rows is None else rows, **hooks)

    # -- edited -----------------------------------------------------------------------------

    def answering(self, edits: Edits) -> Toggler:
        """What answers for these edits: this toggler, or, where its closed form fails for edits
        of their kind, one of the same layer that runs the network.

        Raises UnitscopeError for a unit that does not exist.
        """
        why = self.answers.refuses(Change.of(edits, self.units))
        if not why:
            return self
        if self._slower is None:
            self._slower = prepare(self.run, self.layer, closed=why)
        return self._slower

    def predict(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> Predictions:
        """What the network says of some rows (all where None) under edits.

        In closed form milliseconds; otherwise the network is run, with ``progress`` (called with
        an :class:`core.ablation.result.Estimate`) and ``stop`` (asked; Stopped is raised) once a
        shard. Raises UnitscopeError for a unit that does not exist.
        """
        change = Change.of(edits, self.units)
        return self.answering(edits).answers.predict(change, rows, **hooks)

    def logits_after(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> np.ndarray:
        """Logits float32 (rows, classes) under edits."""
        change = Change.of(edits, self.units)
        rows = self.every if rows is None else rows
        return self.answering(edits).answers.logits_after(change, rows, **hooks)

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

        Of a large run in closed form, ``progress`` is called with :meth:`estimate` first, as an
        :class:`core.ablation.result.Estimate`, and with it after every block of images.

        Raises UnitscopeError for unknown units, scenes, splits, ids, and where no image is left.
        """
        began = time.perf_counter()
        answering = self.answering(edits)
        if answering is not self:
            return answering.toggle(edits, scene, splits, ids, rows, **hooks)
        first = self.estimate(edits, scene, splits, ids, rows)
        report = hooks.get("progress")
        if first is not None and report is not None:
            told, tell = first, report
            tell(Estimate.beside(Progress("toggle", 0, len(self.images), 0.0, None), told))
            hooks["progress"] = lambda now: tell(Estimate.beside(now, told))
        words = _chosen_words(scene, splits, ids, rows)
        rows = self._rows(scene, splits, ids, rows)
        after = self.predict(edits, rows, **hooks)
        before = self.unedited(rows, **hooks)
        return Toggled(
            as_edits(edits),
            self.layer,
            self.method,
            words,
            self.images if rows is None else self.images.iloc[rows].reset_index(drop=True),
            before,
            after,
            self.names,
            time.perf_counter() - began,
        )

    def estimate(
        self,
        edits: Edits,
        scene: str | None = None,
        splits: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
    ) -> Toggled | None:
        """:meth:`toggle` of a random sample of the images in question, within 0.1 s or so, with
        intervals for what the same figures are of all of them.

        None where :meth:`toggle` answers about as quickly, where the network has to be run, and
        where the sample holds none of the images. Raises UnitscopeError for a unit that does not
        exist.
        """
        began = time.perf_counter()
        closed = self.answers
        if not isinstance(closed, ClosedForm) or closed.sample is None:
            return None
        if self.answering(edits) is not self:
            return None
        sample, fraction = closed.sample, len(closed.sample.rows) / len(self.images)
        at = np.arange(len(sample.rows))
        if rows is not None:
            at = np.flatnonzero(np.isin(sample.rows, rows))
        elif scene is not None or splits or ids is not None:
            try:
                at = choose(sample.images, scene, splits, ids)
            except UnitscopeError:  # none of them: the exact answer says why, if there is a why
                return None
        if len(at) <= BLOCK * fraction or fraction == 1:
            return None
        after = closed.guess(sample, Change.of(edits, self.units))
        before, after = (
            Predictions(of.predicted[at], of.larger[at]) for of in (sample.unedited, after)
        )
        return Toggled(
            as_edits(edits),
            self.layer,
            self.method,
            _chosen_words(scene, splits, ids, rows),
            sample.images.iloc[at].reset_index(drop=True),
            before,
            after,
            self.names,
            time.perf_counter() - began,
            fraction,
        )

    def _rows(
        self,
        scene: str | None,
        splits: Sequence[str] | None,
        ids: Sequence[str] | None,
        rows: np.ndarray | None,
    ) -> np.ndarray | None:
        """The rows that are meant, None for all. Raises where there are none."""
        if rows is not None and not len(rows):
            raise UnitscopeError("no image was chosen")
        if rows is None and (scene is not None or splits or ids is not None):
            return choose(self.images, scene, splits, ids)
        return rows

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
        yield from self.answers.sweep(rows, orders, wanted, **hooks)

    def live(self, edits: Edits = ()) -> Live:
        """A set of edits that is changed one unit at a time (closed form only)."""
        return Live(self, edits)


def _chosen_words(
    scene: str | None,
    splits: Sequence[str] | None,
    ids: Sequence[str] | None,
    rows: np.ndarray | None,
) -> str:
    """Which images, in words."""
    parts = [f"scene {scene}"] if scene else []
    parts += [f"split {', '.join(splits)}"] if splits else []
    parts += ["chosen images"] if ids is not None or (rows is not None and not parts) else []
    return ", ".join(parts) or "all images"


class Live:
    """A set of edited units that changes one unit at a time: one rank-one update a change.

    Raises UnitscopeError where the toggler, or an edit, is not answered in closed form.

    Attributes
    ----------
    scale, shift : float32 (units,), the edits now in place.
    predictions : under them, over all images of the toggler.
    """

    def __init__(self, toggler: Toggler, edits: Edits = ()):
        if not isinstance(toggler.answers, ClosedForm):
            raise UnitscopeError(
                f"single changes are followed in closed form only; layer {toggler.layer!r} needs a "
                f"{toggler.method}: {toggler.check.why}"
            )
        self._toggler, self._closed = toggler, toggler.answers
        self._check(edits)
        self.scale, self.shift = Change.of(edits, toggler.units)
        self._changes = 0
        self._rebase()

    def _check(self, edits: Edits) -> None:
        answering = self._toggler.answering(edits)
        if answering is not self._toggler:
            raise UnitscopeError(
                f"single changes are followed in closed form only: {answering.check.why}"
            )

    def _rebase(self) -> None:
        closed, change = self._closed, Change(self.scale, self.shift)
        at = change.touched
        moved = self._toggler.pooled[:, at] * (change.scale[at] - 1) + change.shift[at]
        self._logits = closed.base + moved @ closed.weights[at]
        self.predictions = judge(self._logits, self._toggler.target)

    def change(self, unit: int, factor: float = 1.0, clamp: float | None = None) -> Predictions:
        """Put one unit at a factor (0 disables it, 1 gives it back) or clamp it; predictions."""
        edit = Edit((unit,), 0.0 if clamp is not None else factor, clamp)
        self._check(edit)
        fresh = Change.of(edit, self._toggler.units)
        scale, shift = fresh.scale[unit], fresh.shift[unit]
        by, on = scale - self.scale[unit], shift - self.shift[unit]
        self.scale[unit], self.shift[unit] = scale, shift
        self._changes += 1
        if self._changes % REBASE == 0:
            self._rebase()
            return self.predictions
        moved = self._closed.by_unit[unit] * by + on
        units = np.full(len(moved), unit, np.int32)
        predicted, larger = np.empty(len(moved), np.int32), np.empty(len(moved), np.int32)
        logits, target, weights = self._logits, self._toggler.target, self._closed.weights
        in_parts(
            lambda a, b: follow(logits, units, moved, weights, target, a, b, predicted, larger),
            len(moved),
        )
        self.predictions = Predictions(predicted, larger)
        return self.predictions
