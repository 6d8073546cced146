"""The result of an edit: accuracies with intervals, and the images behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from core.ablation.edits import Edit
from core.ablation.kernels import Predictions
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval, paired_interval
from core.foundation.plain import Json
from core.foundation.progress import Progress


def counting_for(fraction: float) -> float:
    """As how many images of an endless population one image of a sample counts: 1/(1 − f), where
    the sample is a fraction f of all there are.

    n images of N, drawn without replacement, give a mean as precisely as n·(N − 1)/(N − n) drawn
    with it: the finite population correction (Cochran, Sampling Techniques, 1977, section 2.6).

    >>> counting_for(0.0), counting_for(0.75)
    (1.0, 4.0)
    """
    return 1 / (1 - fraction)


class Share(NamedTuple):
    """A share of images with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    right: int
    n: int

    @classmethod
    def of(cls, right: np.ndarray, fraction: float = 0.0) -> Share:
        """Of a bool array. fraction : of the images in question that these are, where they are a
        sample: the interval is then of the share among all of those."""
        n, k, by = len(right), int(right.sum()), counting_for(fraction)
        return cls(k / n if n else float("nan"), *interval(by * k, by * n), k, n)


class Gain(NamedTuple):
    """A change of accuracy on the same images, with the paired 95 % interval."""

    value: float
    low: float
    high: float
    gained: int
    lost: int

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, fraction: float = 0.0) -> Gain:
        """Of two bool arrays over the same images. fraction : as of :meth:`Share.of`."""
        gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
        value, by = (gained - lost) / n if n else float("nan"), counting_for(fraction)
        low, high = paired_interval(by * gained, by * lost, by * n)
        # The approximation of the few may go beyond what a change of accuracy can be.
        return cls(value, max(-1.0, low), min(1.0, high), gained, lost)


class Headline(NamedTuple):
    """The accuracy of a part of the images before and after an edit. of : which, in words."""

    of: str
    before: Share
    after: Share
    gain: Gain

    def to_json(self) -> Json:
        """Plain data."""
        return {
            "of": self.of,
            "accuracy_before": self.before._asdict(),
            "accuracy_after": self.after._asdict(),
            "gain": self.gain._asdict(),
        }


@dataclass(frozen=True)
class Toggled:
    """What an edit does to some images of a run.

    Attributes
    ----------
    edits, layer, method : what was changed, and by which of :data:`core.ablation.check.METHODS`
        the answer is known.
    chosen : which images, in words.
    images : rows of :func:`images_of` these are.
    before, after : predictions of these.
    names : of the classes.
    seconds : that it took.
    fraction : of the images in question that these are, where they are a random sample of them and
        all figures are estimates; 0 where they are all.
    """

    edits: list[Edit]
    layer: str
    method: str
    chosen: str
    images: pd.DataFrame
    before: Predictions
    after: Predictions
    names: list[str]
    seconds: float
    fraction: float = 0.0

    @cached_property
    def _target(self) -> np.ndarray:
        return np.asarray(self.images["target"].to_numpy())

    @cached_property
    def _scored(self) -> np.ndarray:
        return np.asarray(self._target >= 0)

    def _right(self, of: Predictions, top: int = 1) -> np.ndarray:
        if top == 1:
            return np.asarray((of.predicted == self._target)[self._scored])
        return np.asarray((of.larger < top)[self._scored])

    @property
    def accuracy(self) -> tuple[Share, Share]:
        """Before and after, over the images whose scene the network knows."""
        return self._shares(1)

    @property
    def top5(self) -> tuple[Share, Share]:
        """Share of images whose true class is among the five largest logits, before and after."""
        return self._shares(5)

    def _shares(self, top: int) -> tuple[Share, Share]:
        before, after = (self._right(of, top) for of in (self.before, self.after))
        return Share.of(before, self.fraction), Share.of(after, self.fraction)

    @property
    def gain(self) -> Gain:
        """Accuracy after − before, with the paired interval and the images gained and lost."""
        return Gain.of(self._right(self.before), self._right(self.after), self.fraction)

    def headlines(self, scene: str | None = None) -> list[Headline]:
        """The shift of accuracy for the images of a scene, for all others, and for all; parts
        without a scored image are left out. Without a scene, for all alone."""
        before, after = self._right(self.before), self._right(self.after)
        own = (self.images["scene"] == scene).to_numpy(bool)[self._scored]
        parts = [(scene, own), ("all others", ~own)] if scene else []
        by = self.fraction
        return [
            Headline(of, Share.of(before[keep], by), Share.of(after[keep], by), gain)
            for of, keep in [*parts, ("all photos", np.ones(len(before), bool))]
            if keep.any() and (gain := Gain.of(before[keep], after[keep], by))
        ]

    def only(self, scene: str) -> Toggled:
        """The same edit, of the images of a scene alone; raises where there is none."""
        keep = (self.images["scene"] == scene).to_numpy(bool)
        if not keep.any():
            raise UnitscopeError(f"no image is of scene {scene!r} ({self.chosen})")

        def part(of: Predictions) -> Predictions:
            return Predictions(of.predicted[keep], of.larger[keep])

        return replace(
            self,
            chosen=f"scene {scene}" + ("" if self.chosen == "all images" else f", {self.chosen}"),
            images=self.images[keep].reset_index(drop=True),
            before=part(self.before),
            after=part(self.after),
        )

    @property
    def estimated(self) -> str:
        """From how many photos all is estimated, and which share; empty where it is exact."""
        if not self.fraction:
            return ""
        n = len(self.images)
        return f"{n:,} photos, {100 * self.fraction:.3g} % of them, drawn at random"

    @property
    def changed(self) -> int:
        """Images whose prediction changed, right or wrong."""
        return int((self.before.predicted != self.after.predicted).sum())

    @cached_property
    def scenes(self) -> pd.DataFrame:
        """By true scene: scene, images, right_before, right_after, accuracy_before,
        accuracy_after, shift, low, high (paired 95 %), gained, lost; largest losses first."""
        right = [self._right(self.before), self._right(self.after)]
        frame = pd.DataFrame(
            {
                "scene": self.images["scene"][self._scored].to_numpy(),
                "right_before": right[0],
                "right_after": right[1],
                "gained": right[1] & ~right[0],
                "lost": right[0] & ~right[1],
            }
        )
        table = frame.groupby("scene", sort=True).sum()
        table.insert(0, "images", frame.groupby("scene", sort=True).size())
        for side in ("before", "after"):
            table[f"accuracy_{side}"] = table[f"right_{side}"] / table["images"]
        table["shift"] = table["accuracy_after"] - table["accuracy_before"]
        bounds = [
            paired_interval(g, lost, n)
            for g, lost, n in zip(table["gained"], table["lost"], table["images"], strict=True)
        ]
        table["low"], table["high"] = [b[0] for b in bounds], [b[1] for b in bounds]
        order = [
            "images",
            "right_before",
            "right_after",
            "accuracy_before",
            "accuracy_after",
            "shift",
            "low",
            "high",
            "gained",
            "lost",
        ]
        return table[order].reset_index().sort_values(["shift", "scene"], ignore_index=True)

    def _listed(self, keep: np.ndarray) -> pd.DataFrame:
        rows = np.flatnonzero(self._scored)[keep]
        part = self.images.iloc[rows]
        return pd.DataFrame(
            {
                "image": part["image"].to_numpy(),
                "id": part["id"].to_numpy(),
                "split": part["split"].to_numpy(),
                "scene": part["scene"].to_numpy(),
                "before": [self.names[k] for k in self.before.predicted[rows]],
                "after": [self.names[k] for k in self.after.predicted[rows]],
            }
        )

    @cached_property
    def gained(self) -> pd.DataFrame:
        """Images that are right now and were not: image, id, split, scene, before, after."""
        return self._listed(self._right(self.after) & ~self._right(self.before))

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Images that were right and are not now: image, id, split, scene, before, after."""
        return self._listed(self._right(self.before) & ~self._right(self.after))

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Cells of the confusion matrix that change: scene, predicted, before, after, change;
        largest changes first."""
        scene = self.images["scene"].fillna("unknown").to_numpy()
        sides = []
        for side, of in (("before", self.before), ("after", self.after)):
            frame = pd.DataFrame({"scene": scene, "class": of.predicted})
            sides.append(frame.groupby(["scene", "class"]).size().rename(side))
        table = pd.concat(sides, axis=1).fillna(0).astype(int).reset_index()
        table["change"] = table["after"] - table["before"]
        table = table[table["change"] != 0]
        table.insert(1, "predicted", [self.names[k] for k in table["class"]])
        order = (-table["change"].abs()).argsort(kind="stable")
        return table.drop(columns="class").iloc[order].reset_index(drop=True)

    def to_json(self, listed: int = 50) -> Json:
        """Plain data; of images and cells the first `listed`."""
        before, after = self.accuracy
        top = self.top5
        return {
            "layer": self.layer,
            "method": self.method,
            "images": self.chosen,
            "edits": [
                {"units": list(e.units), "factor": e.factor, "clamp": e.clamp} for e in self.edits
            ],
            "accuracy_before": before._asdict(),
            "accuracy_after": after._asdict(),
            "gain": self.gain._asdict(),
            "changed": self.changed,
            "top5_before": top[0]._asdict(),
            "top5_after": top[1]._asdict(),
            "scenes": self.scenes.to_dict("records"),
            "gained": self.gained.head(listed).to_dict("records"),
            "lost": self.lost.head(listed).to_dict("records"),
            "confusion": self.confusion.head(listed).to_dict("records"),
            "seconds": round(self.seconds, 4),
            "estimated": self.estimated or None,
        }


@dataclass(frozen=True, kw_only=True)
class Estimate(Progress):
    """An estimate while more is worked out.

    right_before, right_after, gained, lost : of `scored` images, drawn at random. fraction : of all
    images in question that these are, where the interval is to be of their change alone.
    """

    scored: int
    right_before: int
    right_after: int
    gained: int
    lost: int
    fraction: float = 0.0

    @classmethod
    def beside(cls, progress: Progress, told: Toggled) -> Estimate:
        """How far the exact figures are, with what a sample told first."""
        before, gain = told.accuracy[0], told.gain
        return cls(
            **vars(progress),
            scored=before.n,
            right_before=before.right,
            right_after=before.right + gain.gained - gain.lost,
            gained=gain.gained,
            lost=gain.lost,
            fraction=told.fraction,
        )

    @property
    def gain(self) -> Gain:
        """The change of accuracy so far, with the paired 95 % interval."""
        value = (self.gained - self.lost) / self.scored if self.scored else float("nan")
        by = counting_for(self.fraction)
        bounds = paired_interval(by * self.gained, by * self.lost, by * self.scored)
        return Gain(value, *bounds, self.gained, self.lost)

    def __str__(self) -> str:
        gain = self.gain
        return (
            f"{super().__str__()}; accuracy {self.right_after}/{self.scored}, "
            f"change {gain.value:+.2%} [{gain.low:+.2%}, {gain.high:+.2%}]"
        )
