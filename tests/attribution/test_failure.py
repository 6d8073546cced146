"""Telling wrong answers by what they rest on."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from core.attribution import failure
from core.foundation.errors import UnitscopeError
from tests.attribution.made import CONCEPTS, SCENES, core_of, made

CORE = core_of({"attic": ("bed",), "barn": ("cow", "hay")})


def test_auroc_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores, wrong = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.3
    assert failure.auroc(scores, wrong) == pytest.approx(roc_auc_score(wrong, scores))


def test_shares_are_of_what_is_positive_on_core_concepts_of_the_answer():
    measured = made(8, {("bed", "attic"): 1.0, ("cow", "attic"): 1.0}, noise=1.5, seed=3)
    measured.images.loc[0, "target"] = -1
    credit = np.random.default_rng(1).normal(size=len(measured.rows))
    frame = failure.features(measured, credit, CORE, SCENES)
    kept = np.flatnonzero(measured.images["target"] >= 0)
    assert len(frame) == len(kept) == 23
    for place, at in enumerate(kept):
        image = measured.images.iloc[at]
        k = image["predicted"]
        whole = {"evidence": 0.0, "effect": 0.0, "area": 0.0}
        core = dict(whole)
        for r in np.flatnonzero(measured.rows["photo"] == at):
            z, gone = measured.before[at].astype(float), measured.after[r].mean(0)

            def over(v, k=k):
                return v[k] - (v.sum() - v[k]) / 2

            values = {
                "evidence": credit[r],
                "effect": over(z) - over(gone),
                "area": measured.rows["area"][r],
            }
            is_core = CORE.members[k, CONCEPTS.index(measured.rows["name"][r])]
            for name, value in values.items():
                whole[name] += max(value, 0)
                core[name] += max(value, 0) * is_core
        for name in whole:
            wanted = core[name] / whole[name] if whole[name] else np.nan
            assert frame[name][place] == pytest.approx(wanted, rel=1e-4, nan_ok=True)
        p = np.exp(measured.before[at].astype(float))
        p = (p / p.sum()).max()
        assert frame["confidence"][place] == pytest.approx(np.log(p / (1 - p)), rel=1e-4)
        assert frame["wrong"][place] == (image["predicted"] != image["target"])


def frame_of(n, seed, useful):
    """Confidence that tells a little; a share of evidence that tells more where it is useful."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(n) < 0.3
    return pd.DataFrame(
        {
            "wrong": wrong,
            "confidence": rng.normal(size=n) - 1.0 * wrong,
            "evidence": expit(rng.normal(size=n) - (2.0 * wrong if useful else 0.0)),
            "effect": np.where(rng.random(n) < 0.1, np.nan, rng.random(n)),
            "area": rng.random(n),
        }
    )


def test_a_useful_share_adds_and_a_useless_one_does_not():
    for useful in (True, False):
        frames = frame_of(300, 0, useful), frame_of(300, 1, useful)
        found = failure.predict_failure(*frames, "scc", ("val", "test"), draws=100)
        row = found.scores.set_index("score")
        assert (row["low"] <= row["auroc"]).all() and (row["auroc"] <= row["high"]).all()
        both = row.loc["confidence and share of evidence"]
        assert (both["gain_low"] > 0) == useful
        assert ("adds to the confidence" in found.sentence()) == useful
        assert row.loc["confidence", "gain"] == 0 and found.n == 300
        assert found.shares.set_index("share").loc["effect", "none"] > 0


def test_a_split_without_mistakes_cannot_be_judged():
    frame = frame_of(60, 0, True)
    with pytest.raises(UnitscopeError, match="split test has 0 wrong"):
        failure.predict_failure(frame, frame.assign(wrong=False), "scc", ("val", "test"))
