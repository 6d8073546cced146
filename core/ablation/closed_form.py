"""The closed form: logits after an edit, from the recorded means and a linear head.

Where the head is a global average and one linear layer, an edit that changes the mean of unit t
by d_t changes the logits by Σ_t d_t·W_t, for all images at once.

That it is so is checked against the network once for each layer of a run
(:mod:`core.ablation.strategies`) and then kept beside the run: answers need neither PyTorch nor
the network from then on.

Of a large run (:attr:`core.ablation.recorded.Recorded.large`) they are worked out block by block,
from its files; a random sample of its images is held in memory, for a first estimate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd

from core.ablation.check import CLOSED_FORM, Check
from core.ablation.edits import Change, kind_of
from core.ablation.kernels import Predictions, add_and_judge, follow, in_parts, judge
from core.ablation.recorded import BLOCK, Recorded
from core.foundation.progress import Hooks, Meter, Stopped, never
from core.foundation.versions import versions_of
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived


@dataclass
class Reach:
    """For which edits a closed form was found to agree with a forward hook, kind by kind.

    Attributes
    ----------
    probes : kind of edit (:func:`core.ablation.edits.kind_of`) → the agreement found for it.
    reach : kinds that passed → the strength up to which they did.
    limit : the agreement up to which an edit passes.
    attempt : (scale, shift) → the agreement for an edit that is stronger than its kind was tried
        at. The network runs.
    """

    probes: dict[str, float]
    reach: dict[str, float]
    limit: float
    attempt: Callable[[float, float], float]
    _beyond: dict[tuple[float, float], float] = field(default_factory=dict)

    def holds(self, scale: float, shift: float) -> bool:
        """Does the closed form answer this edit? One that is stronger than its kind was tried at
        is tried now, on the network opened again."""
        kind, strength = kind_of(scale, shift)
        if kind not in self.reach:
            return False
        if strength <= self.reach[kind]:
            return True
        if (scale, shift) not in self._beyond:
            self._beyond[scale, shift] = self.attempt(scale, shift)
            if self._beyond[scale, shift] <= self.limit:
                self.reach[kind] = strength
        return self._beyond[scale, shift] <= self.limit

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


SAMPLE = 1 << 14
"""Images of the sample that a first estimate is made from."""


class Sample(NamedTuple):
    """A simple random sample of a run's images, drawn without replacement.

    rows : ascending. images : of them, see :func:`core.ablation.images.images_of`. base : float32
    (rows, classes), their unedited logits. by_unit : float32 (units, rows), their means. target :
    int32 (rows,). unedited : predictions without any edit.
    """

    rows: np.ndarray
    images: pd.DataFrame
    base: np.ndarray
    by_unit: np.ndarray
    target: np.ndarray
    unedited: Predictions

    @classmethod
    def of(cls, recorded: Recorded, base: np.ndarray, size: int, seed: int = 0) -> Sample:
        """`size` images, all where there are not as many; the same seed draws the same."""
        n = len(base)
        rows = np.random.default_rng(seed).choice(n, min(size, n), replace=False)
        rows.sort()
        own, target = np.ascontiguousarray(base[rows]), recorded.target[rows]
        by_unit = np.ascontiguousarray(recorded.pooled[rows].T)
        images = recorded.images.iloc[rows].reset_index(drop=True)
        return cls(rows, images, own, by_unit, target, judge(own, target))


class ClosedForm:
    """Answers by arithmetic.

    Attributes
    ----------
    weights : float32 (units, classes) of the linear head.
    base : float32 (images, classes), unedited logits.
    by_unit : float32 (units, images), the recorded means; of a large run a view of its file.
    check : how it was decided. reach : which kinds of edits it answers; None = all.
    """

    name = CLOSED_FORM

    def __init__(
        self,
        recorded: Recorded,
        weights: np.ndarray,
        base: np.ndarray,
        check: Check | None = None,
        reach: Reach | None = None,
    ):
        self.recorded, self.weights, self.base = recorded, weights, base
        self.check, self.reach = check or Check(), reach
        turned = recorded.pooled.T
        self.by_unit = turned if recorded.large else np.ascontiguousarray(turned)

    # -- kept beside the run ----------------------------------------------------------------

    @staticmethod
    def _path(recorded: Recorded) -> Path:
        return derived(recorded.run, "closed-form", [recorded.layer, versions_of("replay")], "npz")

    def keep(self) -> None:
        """Keep what was found of the layer beside its run, for :meth:`kept`."""
        assert self.reach is not None
        facts = {
            "check": self.check.to_json(),
            "probes": self.reach.probes,
            "reach": self.reach.reach,
            "limit": self.reach.limit,
        }
        own = {} if self.base is self.recorded.logits else {"base": self.base}
        write_arrays(
            self._path(self.recorded),
            facts=np.frombuffer(json.dumps(facts).encode(), np.uint8),
            weights=self.weights,
            **own,
        )

    @classmethod
    def kept(
        cls, recorded: Recorded, attempt: Callable[[float, float], float]
    ) -> ClosedForm | None:
        """What was found of a layer before; None where nothing was, or it is damaged.

        attempt : see :class:`Reach`.
        """
        held = read_arrays(cls._path(recorded)) or {}
        try:
            facts = json.loads(held["facts"].tobytes())
            reach = Reach(dict(facts["probes"]), dict(facts["reach"]), facts["limit"], attempt)
            check, weights = Check(**facts["check"]), held["weights"]
        except (KeyError, TypeError, ValueError):
            return None
        base = held.get("base", recorded.logits)
        shape = (recorded.pooled.shape[1], recorded.logits.shape[1])
        if weights.shape != shape or base.shape != recorded.logits.shape:
            return None
        if {weights.dtype, base.dtype} != {np.dtype(np.float32)}:
            return None
        return cls(recorded, weights, base, check, reach)

    # -- answers ----------------------------------------------------------------------------

    def refuses(self, change: Change) -> str:
        """Why it cannot answer an edit, empty where it can."""
        failed = self.reach.failed(change) if self.reach is not None else ""
        return failed and f"the closed form fails for {failed}"

    def logits(self, rows: np.ndarray, **_: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes)."""
        return np.asarray(self.base[rows])

    @cached_property
    def _unedited(self) -> Predictions:
        return self.predict(Change.nothing(len(self.weights)), None)

    @cached_property
    def sample(self) -> Sample | None:
        """What a first estimate is made from; None where all is answered at once."""
        return Sample.of(self.recorded, self.base, SAMPLE) if self.recorded.large else None

    def unedited(self, rows: np.ndarray, **_: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit."""
        return Predictions(self._unedited.predicted[rows], self._unedited.larger[rows])

    def logits_after(self, change: Change, rows: np.ndarray, **_: Unpack[Hooks]) -> np.ndarray:
        """Logits float32 (rows, classes) under a change."""
        at = change.touched
        moved = self.recorded.pooled[np.ix_(rows, at)] * (change.scale[at] - 1) + change.shift[at]
        return np.asarray(self.base[rows] + moved @ self.weights[at])

    def predict(
        self, change: Change, rows: np.ndarray | None, **hooks: Unpack[Hooks]
    ) -> Predictions:
        """Predictions of the rows (all where None) under a change, :data:`BLOCK` after block.

        Raises Stopped where `stop`, asked between blocks, says so.
        """
        n, at = len(self.base) if rows is None else len(rows), change.touched
        out = Predictions(np.empty(n, np.int32), np.empty(n, np.int32))
        moves, target = self._moves(change), self.recorded.target
        meter, stop = Meter(hooks.get("progress")), hooks.get("stop", never)
        if n > BLOCK:
            meter.start("toggle", n)
        for first in range(0, n, BLOCK):
            last = min(first + BLOCK, n)
            if rows is None:
                _judge(self.base, self.by_unit, at, moves, target, first, last, out)
            else:
                part = rows[first:last]
                means = np.ascontiguousarray(self.by_unit[np.ix_(at, part)])
                piece = Predictions(out.predicted[first:last], out.larger[first:last])
                every = np.arange(len(at))
                _judge(self.base[part], means, every, moves, target[part], 0, len(part), piece)
            if n > BLOCK:
                meter.step(last - first)
                if last < n and stop():
                    raise Stopped(f"stopped after {last:,} of {n:,} images")
        return out

    def guess(self, sample: Sample, change: Change) -> Predictions:
        """Predictions of a sample under a change."""
        n = len(sample.rows)
        out = Predictions(np.empty(n, np.int32), np.empty(n, np.int32))
        moves, at = self._moves(change), change.touched
        _judge(sample.base, sample.by_unit, at, moves, sample.target, 0, n, out)
        return out

    def _moves(self, change: Change) -> tuple[np.ndarray, np.ndarray]:
        """What a change adds to the logits: (scale − 1)·W for each unit of it, by which its mean
        is multiplied, and one offset for all images; scale·x + shift less x."""
        at = change.touched
        weights = (change.scale[at] - 1)[:, None] * self.weights[at]
        return weights, change.shift[at] @ self.weights[at]

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


def _judge(
    base: np.ndarray,
    by_unit: np.ndarray,
    at: np.ndarray,
    moves: tuple[np.ndarray, np.ndarray],
    target: np.ndarray,
    first: int,
    last: int,
    out: Predictions,
) -> None:
    """Predictions of images first … last − 1 into `out`; at : rows of `by_unit` that are moved."""
    weights, offset = moves
    in_parts(
        lambda a, b: add_and_judge(
            base, by_unit, at, weights, offset, target, first + a, first + b, *out
        ),
        last - first,
    )
