"""Search for the best set of units to disable, on some images, judged on others.

Beyond the paper: greedy forward and backward search, exact at every step, and a relaxed mask
learned by gradient; among all units (blind), or among candidates only, such as the units whose
contribution to the scenes' core concepts is negative. :func:`compare` asks whether that
knowledge helps: the same search among as many candidates drawn at random is its control.

The searches need a linear head (closed form, :mod:`core.ablation.strategies`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Unpack

import numpy as np
import pandas as pd
import torch

from core.ablation.edits import Edit
from core.ablation.kernels import count_right, in_parts
from core.ablation.result import Gain, Share
from core.ablation.toggler import Toggler
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import change_interval
from core.foundation.progress import Hooks, Meter, Report, Stop, Stopped, never

METHODS = ("forward", "backward", "relaxed")


class Linear:
    """The images that a search looks at: logits, pooled features and weights of a linear head.

    Attributes
    ----------
    logits : float32 (images, classes) under the units disabled so far.
    off : bool (units,), those disabled.
    target : int32 (images,), never −1: images of unknown class are left out.
    """

    def __init__(self, toggler: Toggler, rows: np.ndarray):
        if toggler.weights is None:
            raise UnitscopeError(
                f"a search needs a linear head; layer {toggler.layer!r} needs a {toggler.method}: "
                f"{toggler.check.why}"
            )
        self.rows = rows[toggler.target[rows] >= 0]
        if not len(self.rows):
            raise UnitscopeError("no image to search on: none has a scene the network knows")
        self.target = toggler.target[self.rows]
        self.pooled = np.ascontiguousarray(toggler.pooled[self.rows])
        self.weights = toggler.weights
        self._base = toggler.logits(self.rows)
        self._low, self._high = self.weights.min(1), self.weights.max(1)
        self.off = np.zeros(toggler.units, bool)
        self.logits = self._base.copy()

    def put(self, off: np.ndarray) -> None:
        """Disable exactly the units in a bool array."""
        self.off = off.copy()
        at = np.flatnonzero(off)
        self.logits = self._base - self.pooled[:, at] @ self.weights[at]

    def step(self, unit: int) -> None:
        """Turn one unit off, or on again."""
        sign = np.float32(1.0 if self.off[unit] else -1.0)
        self.logits += sign * self.pooled[:, unit, None] * self.weights[unit]
        self.off[unit] = not self.off[unit]

    @property
    def right(self) -> int:
        """Images that are right now."""
        return int((self.logits.argmax(1) == self.target).sum())

    def right_after_each(self, units: np.ndarray) -> np.ndarray:
        """int64 (len(units),): right images if one more unit is turned; all of them are on, or
        all are off."""
        states = np.unique(self.off[units])
        if len(states) > 1:
            raise UnitscopeError("units on and off were asked for together")
        sign = 1.0 if len(states) and states[0] else -1.0
        total = np.zeros(len(units), np.int64)
        lock = threading.Lock()

        def part(first: int, last: int) -> None:
            own = np.zeros(len(units), np.int64)
            count_right(
                self.logits,
                self.pooled,
                sign,
                self.weights,
                self._low,
                self._high,
                units,
                self.target,
                first,
                last,
                own,
            )
            with lock:
                total[:] += own

        in_parts(part, len(self.rows))
        return total

    def slope(self) -> np.ndarray:
        """float64 (units,): how much log-likelihood, summed over the images, the first order
        says is lost by turning a unit off (gained, where negative): activation × gradient."""
        shifted = np.exp(self.logits - self.logits.max(1, keepdims=True))
        toward = -shifted / shifted.sum(1, keepdims=True)
        toward[np.arange(len(toward)), self.target] += 1
        return np.asarray(((toward @ self.weights.T) * self.pooled).sum(0, dtype=np.float64))


@dataclass(frozen=True)
class Path:
    """Sets of units, one larger (or smaller) than the other, found by a search.

    Attributes
    ----------
    method, candidates : how, and among how many units.
    sets : the set of each size looked at, in the order they were found.
    right : images of the selection that are right under each.
    n : images of the selection.
    looked : evaluations of one more unit over all images of the selection.
    seconds : that it took.
    """

    method: str
    candidates: int
    sets: list[tuple[int, ...]]
    right: list[int]
    n: int
    looked: int
    seconds: float

    def best(self, most: int | None = None) -> tuple[int, ...]:
        """The set with most images right among those of at most `most` units; the smallest of
        equals."""
        usable = [
            (-right, len(units), units)
            for units, right in zip(self.sets, self.right, strict=True)
            if most is None or len(units) <= most
        ]
        return min(usable)[2]


def greedy_forward(
    toggler: Toggler,
    rows: np.ndarray,
    candidates: np.ndarray | None = None,
    most: int = 20,
    worst: bool = False,
    stop: Stop = never,
    progress: Report | None = None,
) -> Path:
    """Disable one unit after the other, each time the one that leaves most images right.

    Every step evaluates every candidate exactly. Among equals the one whose loss costs the
    least log-likelihood to first order goes first, then the lower number. It continues to `most`
    units even where accuracy falls; :meth:`Path.best` picks among the sets.

    worst : leave as few images right as possible instead.
    """
    linear = Linear(toggler, rows)
    began = time.perf_counter()
    left = np.arange(toggler.units) if candidates is None else np.unique(candidates)
    sets: list[tuple[int, ...]] = [()]
    rights = [linear.right]
    chosen: list[int] = []
    looked = 0
    direction = -1 if worst else 1
    most = min(most, len(left))
    meter = Meter(progress)
    meter.start("forward search", most, of="units")
    for k in range(most):
        if stop():
            raise Stopped(f"the search was stopped after {k} of {most} units")
        right = linear.right_after_each(left)
        looked += len(left)
        costs = linear.slope()[left] * direction
        pick = int(np.lexsort((left, costs, -right * direction))[0])
        unit = int(left[pick])
        linear.step(unit)
        chosen.append(unit)
        left = np.delete(left, pick)
        sets.append(tuple(chosen))
        rights.append(linear.right)
        meter.step()
    return Path(
        "forward",
        toggler.units if candidates is None else len(np.unique(candidates)),
        sets,
        rights,
        len(linear.rows),
        looked,
        time.perf_counter() - began,
    )


def greedy_backward(
    toggler: Toggler,
    rows: np.ndarray,
    candidates: np.ndarray | None = None,
    stop: Stop = never,
    progress: Report | None = None,
) -> Path:
    """Disable all candidates, then give one after the other back, each time the best.

    Sets go from all candidates to none. Ties as in :func:`greedy_forward`.
    """
    linear = Linear(toggler, rows)
    began = time.perf_counter()
    left = np.arange(toggler.units) if candidates is None else np.unique(candidates)
    off = np.zeros(toggler.units, bool)
    off[left] = True
    linear.put(off)
    sets: list[tuple[int, ...]] = [tuple(int(u) for u in left)]
    rights = [linear.right]
    looked, total = 0, len(left)
    meter = Meter(progress)
    meter.start("backward search", total, of="units")
    for k in range(total):
        if stop():
            raise Stopped(f"the search was stopped after {k} of {total} units")
        right = linear.right_after_each(left)
        looked += len(left)
        # What turning a unit on gains to first order is what its slope says it is worth.
        worth = linear.slope()[left]
        pick = int(np.lexsort((left, -worth, -right))[0])
        linear.step(int(left[pick]))
        left = np.delete(left, pick)
        if k % 32 == 31:
            linear.put(linear.off)  # so that rounding of single steps does not add up
        sets.append(tuple(int(u) for u in left))
        rights.append(linear.right)
        meter.step()
    return Path(
        "backward", total, sets, rights, len(linear.rows), looked, time.perf_counter() - began
    )


def relaxed_mask(
    toggler: Toggler,
    rows: np.ndarray,
    candidates: np.ndarray | None = None,
    most: int = 20,
    steps: int = 200,
    rate: float = 0.05,
    price: float = 0.02,
    seed: int = 0,
) -> Path:
    """A mask between 0 and 1 for every candidate, learned by gradient; the lowest go first.

    Minimises the mean cross-entropy of logits + ((m − 1) ∘ pooled)·W plus price·mean(1 − m), by
    Adam on m = sigmoid(s), s starting at 3. The sets are the units with the lowest masks, one
    size after the other, none with a mask above a half.
    """
    linear = Linear(toggler, rows)
    began = time.perf_counter()
    units = np.arange(toggler.units) if candidates is None else np.unique(candidates)
    generator = torch.Generator().manual_seed(seed)
    scores = (3.0 + 0.01 * torch.randn(len(units), generator=generator)).requires_grad_()
    pooled = torch.from_numpy(linear.pooled[:, units])
    weights = torch.from_numpy(np.ascontiguousarray(linear.weights[units]))
    base, target = torch.from_numpy(linear.logits), torch.from_numpy(linear.target).long()
    adam = torch.optim.Adam([scores], lr=rate)
    for _ in range(steps):
        mask = torch.sigmoid(scores)
        logits = base + ((mask - 1) * pooled) @ weights
        loss = torch.nn.functional.cross_entropy(logits, target) + price * (1 - mask).mean()
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
    final = torch.sigmoid(scores).detach().numpy()
    order = units[np.argsort(final, kind="stable")]
    order = order[: min(most, int((final < 0.5).sum()))]
    sets: list[tuple[int, ...]] = [()]
    rights = [linear.right]
    for unit in order.tolist():
        linear.step(unit)
        sets.append((*sets[-1], unit))
        rights.append(linear.right)
    return Path(
        "relaxed",
        len(units),
        sets,
        rights,
        len(linear.rows),
        steps,
        time.perf_counter() - began,
    )


def search(
    toggler: Toggler,
    rows: np.ndarray,
    method: str = "forward",
    candidates: np.ndarray | None = None,
    most: int = 20,
    seed: int = 0,
    **hooks: Unpack[Hooks],
) -> Path:
    """One of :data:`METHODS` by name; `most` limits the sets of forward and relaxed."""
    if method == "forward":
        return greedy_forward(toggler, rows, candidates, most, **hooks)
    if method == "backward":
        return greedy_backward(toggler, rows, candidates, **hooks)
    if method == "relaxed":
        return relaxed_mask(toggler, rows, candidates, most, seed=seed)
    raise unknown("search", method, METHODS)


def judged(
    toggler: Toggler, units: Sequence[int], rows: np.ndarray
) -> tuple[Share, Share, Gain, np.ndarray]:
    """Accuracy before and after disabling units on images the search never saw, the change with
    its interval, and whether each image is right before and after: bool (2, images)."""
    known = rows[toggler.target[rows] >= 0]
    target = toggler.target[known]
    before = toggler.unedited(known).predicted == target
    after = toggler.predict(Edit(tuple(units)), known).predicted == target
    return Share.of(before), Share.of(after), Gain.of(before, after), np.stack([before, after])


def halves(scene: np.ndarray, rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows in two halves at random, scene by scene, so that both hold every scene that can be
    halved; an odd one goes to either side at random."""
    rng = np.random.default_rng([seed, len(rows)])
    first = np.zeros(len(rows), bool)
    own = scene[rows]
    for y in np.unique(own):
        at = rng.permutation(np.flatnonzero(own == y))
        size = len(at) // 2 + (int(rng.integers(2)) if len(at) % 2 else 0)
        first[at[:size]] = True
    return rows[first], rows[~first]


@dataclass
class _Found:
    """What all searches of one method among the candidates of one name found, search by search.

    on : gain on the images searched on. change : of each judged image, −1, 0 or 1; NaN for others.
    """

    size: list[int] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    looked: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    on: list[float] = field(default_factory=list)
    change: list[np.ndarray] = field(default_factory=list)

    def add(self, path: Path, units: int, on: float, change: np.ndarray) -> None:
        """One more search, of which `units` were disabled."""
        self.size.append(path.candidates)
        self.units.append(units)
        self.looked.append(path.looked)
        self.seconds.append(path.seconds)
        self.on.append(on)
        self.change.append(change)


def compare(
    toggler: Toggler,
    rows: np.ndarray,
    scene: np.ndarray,
    candidates: Mapping[str, Callable[[np.ndarray], np.ndarray | None]],
    methods: Sequence[str] = METHODS,
    most: int = 20,
    repeats: int = 10,
    controls: int = 20,
    seed: int = 0,
    **hooks: Unpack[Hooks],
) -> pd.DataFrame:
    """Does it help to know where to search? Every search on one half, judged on the other.

    Parameters
    ----------
    rows : images that take part. scene : of every row of the toggler, for :func:`halves`.
    candidates : by name, the units to search among, chosen from the images of the search alone
        (None = all). For each set that is not all, the same search runs among as many units
        drawn at random, `controls` times in all over the repeats.
    repeats : random halvings; in each, either half serves once, so every image is judged.

    Returns one row a (method, candidates): method, candidates, size (mean number of
    candidates), units (mean number disabled), looked and seconds (mean a search),
    gain_selection (on the images searched on), gain (held out: mean over the repeats), low,
    high (95 % interval of that mean over images), n (images), repeats.
    """
    rows = rows[toggler.target[rows] >= 0]
    place = np.full(len(toggler.images), -1)
    place[rows] = np.arange(len(rows))
    found: dict[tuple[str, str], _Found] = {}
    jobs = repeats * 2
    rng = np.random.default_rng(seed)
    draws = max(1, -(-controls // jobs))
    stop, meter = hooks.get("stop", never), Meter(hooks.get("progress"))
    meter.start("comparison", jobs, of="searches")
    for job in range(jobs):
        if stop():
            raise Stopped(f"the comparison was stopped after {job} of {jobs} searches")
        sides = halves(scene, rows, seed + job // 2)
        chosen, other = sides if job % 2 == 0 else sides[::-1]
        for name, units in _pools(toggler.units, candidates, chosen, draws, rng):
            for method in methods:
                path = search(toggler, chosen, method, units, most, seed + job)
                best = path.best(most)
                _, _, _, right = judged(toggler, best, other)
                change = np.full(len(rows), np.nan)
                change[place[other]] = right[1].astype(float) - right[0]
                on = judged(toggler, best, chosen)[2].value
                found.setdefault((method, name), _Found()).add(path, len(best), on, change)
        meter.step()
    blind = next((name for name in candidates if (methods[0], name) in found), "")
    return _compared(found, blind)


def _pools(
    units: int,
    candidates: Mapping[str, Callable[[np.ndarray], np.ndarray | None]],
    chosen: np.ndarray,
    draws: int,
    rng: np.random.Generator,
) -> list[tuple[str, np.ndarray | None]]:
    """(name, units to search among; None = all), each followed by as many drawn at random."""
    pools: list[tuple[str, np.ndarray | None]] = []
    for name, pick in candidates.items():
        among = pick(chosen)
        pools.append((name, among))
        if among is not None:
            for _ in range(draws):
                drawn = rng.choice(units, len(among), replace=False)
                pools.append((_control(name), drawn))
    return [(name, among) for name, among in pools if among is None or len(among)]


def _compared(found: Mapping[tuple[str, str], _Found], blind: str) -> pd.DataFrame:
    """The table of :func:`compare`; blind : name of the candidates that the others are compared
    with."""
    means = {key: _per_image(one.change) for key, one in found.items()}
    table = []
    for (method, name), one in found.items():
        each = means[method, name]
        row: dict[str, object] = {
            "method": method,
            "candidates": name,
            "size": np.mean(one.size),
            "units": np.mean(one.units),
            "looked": np.mean(one.looked),
            "seconds": np.mean(one.seconds),
            "gain_selection": np.mean(one.on),
        }
        nothing = np.zeros(len(each))
        for column, against in (
            ("gain", nothing),
            ("over_first", None if name == blind else means.get((method, blind))),
            ("over_random", means.get((method, _control(name)))),
        ):
            if against is None:
                row |= {column: np.nan, f"{column}_low": np.nan, f"{column}_high": np.nan}
                continue
            low, high = change_interval(each - against)
            row |= {
                column: (each - against).mean(),
                f"{column}_low": float(low),
                f"{column}_high": float(high),
            }
        table.append({**row, "n": len(each), "searches": len(one.change)})
    return pd.DataFrame(table)


def _control(name: str) -> str:
    return f"random, as many as {name}"


def _per_image(changes: list[np.ndarray]) -> np.ndarray:
    """Mean over the searches that judged an image; every image was judged by some."""
    return np.asarray(np.nanmean(np.array(changes), axis=0))
