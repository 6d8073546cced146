"""Accuracy against the number of units disabled, held out or not (Figs. 3 and 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import pandas as pd

from core.ablation.contribution import SIGNS
from core.ablation.protocols import BY_HEAD, MOST, RANKINGS, SEEDS, Disabled, Study
from core.ablation.search import halves
from core.foundation.intervals import change_interval, interval, mean_interval, paired_interval
from core.foundation.progress import Hooks
from core.foundation.settings import CHOOSING

COLUMNS = (
    "ranking",
    "protocol",
    "sign",
    "k",
    "accuracy",
    "low",
    "high",
    "before",
    "gain",
    "gain_low",
    "gain_high",
    "gained",
    "lost",
    "edited",
    "edited_accuracy",
    "units",
    "n",
    "draws",
    "selection",
    "judged",
)
"""Of the frames below.

accuracy (low, high) : share of the judged images right with k units disabled, Wilson's 95 %
    interval; for ``random`` the mean over draws and the middle 95 % of them.
before : the same with nothing disabled. gain (gain_low, gain_high) : the difference, with its
    paired 95 % interval (for ``random`` again over draws).
edited : judged images that were changed at all. edited_accuracy : share of those that are right.
units : units disabled in them, on average (a scene may have fewer than k).
"""


def curve(
    study: Study,
    asked: Disabled,
    select: Sequence[str] | None = None,
    judge: Sequence[str] | None = None,
    at: Sequence[int] | None = None,
    seeds: int = SEEDS,
    seed: int = 0,
    **hooks: Unpack[Hooks],
) -> pd.DataFrame:
    """Accuracy with the k most positive or negative units disabled, k in `at` (1 … 20): one line of
    Figs. 3 and 4.

    select, judge : splits on which units are chosen and accuracy is measured; all images where
    None (as published: the same images serve both). Columns: :data:`COLUMNS`.
    """
    at = sorted(at or range(1, MOST + 1))
    selection, judged = study.rows(select), study.rows(judge)
    before = study.right(judged, **hooks)
    draws = seeds if asked.ranking == "random" else 1
    drawn = [
        study.outcomes(asked, selection, judged, at, seed + draw, **hooks) for draw in range(draws)
    ]
    edited = _edited(asked, before)
    n = len(judged)
    rows = []
    for j, k in enumerate(at):
        after = np.array([right[j] for right, _ in drawn])
        gained, lost = (after & ~before).sum(1), (before & ~after).sum(1)
        share, gain = after.mean(1), (gained - lost) / n
        if draws > 1:
            bounds, gain_bounds = _middle(share), _middle(gain)
        else:
            bounds = interval(int(after.sum()), n)
            gain_bounds = paired_interval(int(gained[0]), int(lost[0]), n)
        rows.append(
            {
                "k": k,
                "accuracy": share.mean(),
                "low": bounds[0],
                "high": bounds[1],
                "gain": gain.mean(),
                "gain_low": gain_bounds[0],
                "gain_high": gain_bounds[1],
                "gained": gained.mean(),
                "lost": lost.mean(),
                "edited_accuracy": after[:, edited].mean() if edited.any() else np.nan,
                "units": np.mean([units[j] for _, units in drawn]),
            }
        )
    common = {
        "ranking": asked.ranking,
        "protocol": asked.protocol,
        "sign": asked.sign,
        "before": before.mean(),
        "edited": int(edited.sum()),
        "n": n,
        "draws": draws,
        "selection": _splits(select),
        "judged": _splits(judge),
    }
    return pd.DataFrame([{**common, **row} for row in rows], columns=list(COLUMNS))


def cross_fitted(
    study: Study,
    asked: Disabled,
    splits: Sequence[str] | None = None,
    at: Sequence[int] | None = None,
    repeats: int = 10,
    seed: int = 0,
    **hooks: Unpack[Hooks],
) -> pd.DataFrame:
    """:func:`curve` held out: units chosen on one random half of the images, judged on the
    other, then the other half's on this one, `repeats` times. Every image counts by its mean over
    the halvings; intervals are over images (:mod:`core.foundation.intervals`). Random units are
    drawn anew each time.
    """
    at = sorted(at or range(1, MOST + 1))
    rows = study.rows(splits)
    before = study.right(rows, **hooks)
    place = np.full(len(study.scene), -1)
    place[rows] = np.arange(len(rows))
    after = np.zeros((len(at), len(rows)))
    gained, lost = np.zeros(len(at)), np.zeros(len(at))
    units = np.zeros(len(at))
    for job in range(2 * repeats):
        sides = halves(study.scene, rows, seed + job // 2)
        selection, judged = sides if job % 2 == 0 else sides[::-1]
        right, mean = study.outcomes(asked, selection, judged, at, seed + job, **hooks)
        here = place[judged]
        after[:, here] += right / repeats
        gained += (right & ~before[here]).sum(1) / repeats
        lost += (~right & before[here]).sum(1) / repeats
        units += mean / (2 * repeats)
    edited = _edited(asked, before)
    low, high = mean_interval(after.T)
    gain_low, gain_high = change_interval((after - before).T)
    table = {
        "ranking": asked.ranking,
        "protocol": asked.protocol,
        "sign": asked.sign,
        "k": at,
        "accuracy": after.mean(1),
        "low": low,
        "high": high,
        "before": before.mean(),
        "gain": (after - before).mean(1),
        "gain_low": gain_low,
        "gain_high": gain_high,
        "gained": gained,
        "lost": lost,
        "edited": int(edited.sum()),
        "edited_accuracy": [row[edited].mean() if edited.any() else np.nan for row in after],
        "units": units,
        "n": len(rows),
        "draws": 2 * repeats,
        "selection": f"random halves of {_splits(splits)}",
        "judged": f"the other halves of {_splits(splits)}",
    }
    return pd.DataFrame(table, columns=list(COLUMNS))


def curves(
    study: Study,
    rankings: Sequence[str] | None = None,
    signs: Sequence[str] = SIGNS,
    protocols: Sequence[str] = ("paper",),
    repeats: int = 0,
    select: Sequence[str] | None = None,
    judge: Sequence[str] | None = None,
    over: str = CHOOSING.over,
    **options: Any,
) -> pd.DataFrame:
    """Several curves in one frame; all rankings that the layer's head allows where None.

    repeats : 0 = :func:`curve` from `select` to `judge`; more = :func:`cross_fitted` on `judge`.
    """
    if rankings is None:
        rankings = [r for r in RANKINGS if r not in BY_HEAD or study.toggler.weights is not None]
    parts = []
    for protocol in protocols:
        for sign in signs:
            for ranking in rankings:
                asked = Disabled(ranking, sign, protocol, over)
                if repeats:
                    part = cross_fitted(study, asked, judge, repeats=repeats, **options)
                else:
                    part = curve(study, asked, select, judge, **options)
                parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _edited(asked: Disabled, before: np.ndarray) -> np.ndarray:
    """bool: images that the protocol changes; `before` : is each right unedited?"""
    if asked.protocol == "paper":
        return np.asarray(before == (asked.sign == "positive"))
    return np.ones(len(before), bool)


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _splits(splits: Sequence[str] | None) -> str:
    return ", ".join(splits) if splits else "all images"
