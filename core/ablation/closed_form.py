"""The closed form: logits after an edit, from the recorded means and a linear head.

Where the head is a global average and one linear layer, an edit that changes the mean of unit t
by d_t changes the logits by Σ_t d_t·W_t, for all images at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Unpack

import numpy as np

from core.ablation.check import CLOSED_FORM, Check
from core.ablation.edits import Change, kind_of
from core.ablation.forward import forward_edited
from core.ablation.kernels import Predictions, add_and_judge, follow, in_parts, judge
from core.ablation.subject import Recorded, Subject
from core.explain.photo import open_model
from core.foundation.progress import Hooks
from core.models.head import CLOSE, agree

if TYPE_CHECKING:
    from torch import nn


class Proof:
    """The closed form of a layer against a forward hook, one kind of edit after the other.

    On a few photos a random quarter of the units is edited. ``probes`` has the agreement found for
    each kind, ``reach`` the strength up to which it passed.

    Parameters
    ----------
    subject : the layer, its network and the photos. weights, bias : of the linear head.
    """

    def __init__(self, subject: Subject, weights: np.ndarray, bias: np.ndarray):
        # Not the subject itself: its network would be kept as long as the toggler.
        self.run, self.layer = subject.recorded.run, subject.recorded.layer
        self.inputs, self.off = subject.inputs, subject.off
        self.means = subject.maps.mean((2, 3)).numpy()
        self.weights, self.bias = weights, bias
        self.probes: dict[str, float] = {}
        self.reach: dict[str, float] = {}
        self._beyond: dict[tuple[float, float], float] = {}
        # Clamps are tried at ± the largest absolute activation on these photos.
        strongest = max(1.0, float(subject.maps.abs().max()))
        scaled = [(factor, 0.0) for factor in (1.0, 0.0, 0.5, 2.0, -1.0)]
        for scale, shift in [*scaled, (0.0, strongest), (0.0, -strongest)]:
            kind, strength = kind_of(scale, shift)
            self.probes[kind] = self._agreement(subject.model.module, scale, shift)
            if self.probes[kind] <= CLOSE:
                self.reach[kind] = strength

    def _agreement(self, module: nn.Module, scale: float, shift: float) -> float:
        change = Change.nothing(self.means.shape[1])
        change.scale[self.off], change.shift[self.off] = scale, shift
        hooked = forward_edited(module, self.layer, self.inputs, change).numpy()
        computed = (self.means * change.scale + change.shift) @ self.weights + self.bias
        return agree(computed, hooked)

    def holds(self, scale: float, shift: float) -> bool:
        """Does the closed form answer this edit? One that is stronger than its kind was tried at
        is tried now, on the network opened again."""
        kind, strength = kind_of(scale, shift)
        if kind not in self.reach:
            return False
        if strength <= self.reach[kind]:
            return True
        if (scale, shift) not in self._beyond:
            module = open_model(self.run).module
            self._beyond[scale, shift] = self._agreement(module, scale, shift)
            if self._beyond[scale, shift] <= CLOSE:
                self.reach[kind] = strength
        return self._beyond[scale, shift] <= CLOSE

    def failed(self, change: Change) -> str:
        """An edit of this change that fails, and by how much; empty where all hold."""
        for scale, shift in sorted(
            set(zip(change.scale.tolist(), change.shift.tolist(), strict=True))
        ):
            if not self.holds(scale, shift):
                kind, _ = kind_of(scale, shift)
                found = self._beyond.get((scale, shift), self.probes[kind])
                words = kind if kind not in self.reach else f"{kind} ({shift or scale:g})"
                return (
                    f"units {words}: it differs from a forward hook by {found:.1e} of the "
                    "largest logit"
                )
        return ""


class ClosedForm:
    """Answers by arithmetic.

    Attributes
    ----------
    weights : float32 (units, classes) of the linear head.
    base : float32 (images, classes), unedited logits.
    by_unit : float32 (units, images), the recorded means.
    check : how it was decided. proof : which kinds of edits it answers; None = all.
    """

    name = CLOSED_FORM

    def __init__(
        self,
        recorded: Recorded,
        weights: np.ndarray,
        base: np.ndarray,
        check: Check | None = None,
        proof: Proof | None = None,
    ):
        self.recorded, self.weights, self.base = recorded, weights, base
        self.check, self.proof = check or Check(), proof
        self.by_unit = np.ascontiguousarray(recorded.pooled.T)
        self._unedited = judge(base, recorded.target)

    def refuses(self, change: Change) -> str:
        """Why it cannot answer an edit, empty where it can."""
        failed = self.proof.failed(change) if self.proof is not None else ""
        return failed and f"the closed form fails for {failed}"

    def logits(self, rows: np.ndarray, **_: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes)."""
        return np.asarray(self.base[rows])

    def unedited(self, rows: np.ndarray, **_: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit."""
        return Predictions(self._unedited.predicted[rows], self._unedited.larger[rows])

    def logits_after(self, change: Change, rows: np.ndarray, **_: Unpack[Hooks]) -> np.ndarray:
        """Logits float32 (rows, classes) under a change."""
        at = change.touched
        moved = self.recorded.pooled[np.ix_(rows, at)] * (change.scale[at] - 1) + change.shift[at]
        return np.asarray(self.base[rows] + moved @ self.weights[at])

    def predict(self, change: Change, rows: np.ndarray | None, **_: Unpack[Hooks]) -> Predictions:
        """Predictions of the rows (all where None) under a change."""
        at = change.touched
        # scale·x + shift less x, as (scale − 1)·x·W and one offset for all images.
        weights = (change.scale[at] - 1)[:, None] * self.weights[at]
        offset = change.shift[at] @ self.weights[at]
        base, by_unit, target = self.base, self.by_unit, self.recorded.target
        if rows is not None:
            base, by_unit, target = base[rows], by_unit[np.ix_(at, rows)], target[rows]
            at = np.arange(len(at))
        predicted, larger = np.empty(len(base), np.int32), np.empty(len(base), np.int32)
        in_parts(
            lambda a, b: add_and_judge(
                base, by_unit, at, weights, offset, target, a, b, predicted, larger
            ),
            len(base),
        )
        return Predictions(predicted, larger)

    def sweep(
        self, rows: np.ndarray, orders: np.ndarray, wanted: Sequence[int], **_: Unpack[Hooks]
    ) -> Iterator[tuple[int, Predictions]]:
        """(k, predictions of the rows) with each row's first k units disabled: one more unit of
        each row at a time. orders : int (rows, most), −1 = none. wanted : k, ascending."""
        logits, target = self.base[rows], self.recorded.target[rows]
        predicted, larger = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
        if 0 in wanted:
            yield 0, self.unedited(rows)
        for k in range(1, (wanted[-1] if wanted else 0) + 1):
            unit = np.ascontiguousarray(orders[:, k - 1], np.int32)
            moved = -self.recorded.pooled[rows, np.maximum(unit, 0)]
            in_parts(
                lambda a, b, u=unit, m=moved: follow(  # type: ignore[misc]
                    logits, u, m, self.weights, target, a, b, predicted, larger
                ),
                len(rows),
            )
            if k in wanted:
                yield k, Predictions(predicted.copy(), larger.copy())
