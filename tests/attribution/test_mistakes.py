"""Wrong answers, sorted: each rule on a photo that was made for it, slices against plain loops."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from core.attribution.chance import common_odds
from core.attribution.labels import confident, flips, suspect, together
from core.attribution.measured import Asked, Measured
from core.attribution.mistakes import Kind, slices_of, sort_mistakes
from core.foundation.errors import UnitscopeError
from tests.attribution.made import CONCEPTS, SCENES, core_of, made

CORE = core_of({"attic": ("bed",), "barn": ("cow", "hay")})
RIGHT = [0.0, 3.0, 0.0]


def one(*photos):
    """Photos of the barn (class 1): each is (logits, {concept: (after, control)})."""
    shown = [({}, RIGHT), *[(concepts, before) for before, concepts in photos]]
    rows, after, control = [], [], []
    for at, (concepts, _) in enumerate(shown):
        for name, (without, elsewhere) in concepts.items():
            rows.append((at, CONCEPTS.index(name) + 1, name, "object", 0.1))
            after.append([without, without])
            control.append(elsewhere)
    before = np.array([z for _, z in shown], np.float32)
    predicted = before.argmax(1)
    images = pd.DataFrame(
        {
            "image": np.arange(len(shown)),
            "id": [str(k) for k in range(len(shown))],
            "split": "test",
            "scene": "barn",
            "target": 1,
            "predicted": predicted,
            "against": np.where(predicted == 1, 0, 1),
        }
    )
    return Measured(
        Asked(),
        images,
        pd.DataFrame(rows, columns=["photo", "concept", "name", "category", "area"]).astype(
            {"photo": int, "concept": int}
        ),
        before,
        np.array(after, np.float32).reshape(-1, 2, 3),
        np.array(control, np.float32).reshape(-1, 3),
        np.zeros((len(rows), 2), np.float32),
        0,
    )


WRONG = [2.0, 1.0, 0.0]
SAME = (WRONG, WRONG)
CASES = {
    # Without the lamp the answer is the barn; without a region elsewhere it is not.
    "mended": (WRONG, {"lamp": ([0.5, 1.0, 0.0], WRONG)}, Kind.MISLED, ("lamp",)),
    "control mends too": (WRONG, {"lamp": ([0.5, 1, 0], [0.5, 1, 0])}, Kind.UNEXPLAINED, ()),
    "no elsewhere": (WRONG, {"lamp": ([0.5, 1, 0], [np.nan] * 3)}, Kind.UNEXPLAINED, ()),
    # The bed carries the attic, the cow the barn.
    "both": (
        WRONG,
        {"bed": ([1.6, 1.0, 0.0], WRONG), "cow": ([2.0, 0.4, 0.0], WRONG)},
        Kind.AMBIGUOUS,
        ("bed", "cow"),
    ),
    "unused": (WRONG, {"cow": SAME, "lamp": SAME}, Kind.MISSED, ("cow",)),
    "nothing core": (WRONG, {"lamp": SAME}, Kind.UNEXPLAINED, ()),
    "only the true scene": (WRONG, {"cow": ([2, 0.4, 0], WRONG)}, Kind.UNEXPLAINED, ()),
    "nothing annotated": (WRONG, {}, Kind.UNEXPLAINED, ()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_photo_made_for_each_rule(name):
    before, concepts, kind, rests_on = CASES[name]
    found = sort_mistakes(one((before, concepts)), CORE, SCENES)
    assert found.lead == 3
    assert found.errors["kind"].tolist() == [kind]
    assert found.errors["concepts"][0] == rests_on
    assert found.errors["margin"][0] == 1


def test_counts_add_up_and_the_label_comes_first():
    measured = one(*[(before, concepts) for before, concepts, _, _ in CASES.values()])
    found = sort_mistakes(measured, CORE, SCENES)
    assert found.counts["errors"].sum() == len(CASES) == len(found.errors)
    assert (found.counts["low"] <= found.counts["share"]).all()
    assert found.mended == 1 and found.placebo == 0
    rng = np.random.default_rng(0)
    suspicion = suspect(rng.normal(size=(20, 3)), np.repeat([0, 1], 10), SCENES)
    all_of_them = replace(
        suspicion,
        suspected=np.ones(len(measured.images), bool),
        likeliest=np.zeros(len(measured.images), int),
    )
    labels = sort_mistakes(measured, CORE, SCENES, all_of_them)
    assert (labels.errors["kind"] == Kind.LABEL).all()
    assert "attic" in labels.errors["why"][0]


def test_without_a_right_answer_there_is_no_lead():
    measured = one((WRONG, {"lamp": SAME}))
    measured.before[0] = WRONG
    measured.images["predicted"] = 0
    with pytest.raises(UnitscopeError, match="no answer"):
        sort_mistakes(measured, CORE, SCENES)


def test_slices_are_fishers_tests_within_scenes():
    measured = made(25, {("cow", "attic"): 2.5}, noise=1.2, seed=1)
    frame = slices_of(measured)
    images = measured.images
    wrong = images["predicted"] != images["target"]
    for row in frame.itertuples():
        has = images.index.isin(measured.rows.loc[measured.rows["name"] == row.name, "photo"])
        tables = []
        for scene in [row.scene] if row.scene else SCENES:
            own = images["scene"] == scene
            tables.append(
                tuple(int((own & a & b).sum()) for a in (has, ~has) for b in (wrong, ~wrong))
            )
        assert row.p == pytest.approx(common_odds(tables))
        assert row.photos == sum(t[0] + t[1] for t in tables)
        assert row.wrong == sum(t[0] for t in tables) and row.rest_wrong == sum(
            t[2] for t in tables
        )
        if row.scene:
            assert row.p == pytest.approx(fisher_exact([tables[0][:2], tables[0][2:]]).pvalue)
            assert row.expected == pytest.approx(wrong[images["scene"] == row.scene].mean())
    assert frame["q"].is_monotonic_increasing
    # The cow pulls towards the attic: in barn and cellar its photos go wrong more often.
    cow = frame.set_index(["name", "scene"]).loc["cow"]
    assert frame["name"][0] == "cow" and cow.loc["barn", "rate"] > cow.loc["barn", "expected"]
    assert cow.loc["attic", "rate"] < cow.loc["attic", "expected"]


def test_pairs_count_their_kinds():
    measured = made(25, {("cow", "attic"): 2.5}, noise=1.2, seed=1)
    found = sort_mistakes(measured, CORE, SCENES)
    top = found.pairs.iloc[0]
    own = found.errors[
        (found.errors["scene"] == top["scene"]) & (found.errors["answer"] == top["answer"])
    ]
    assert top["errors"] == len(own) == sum(top[str(kind)] for kind in Kind)
    assert top["photos"] == 25


def slow_confident(p, given):
    flags = []
    for x, label in zip(p, given, strict=True):
        threshold = [
            np.mean([q[j] for q, g in zip(p, given, strict=True) if g == j]) for j in range(3)
        ]
        able = [j for j in range(3) if x[j] >= threshold[j]]
        best = max(able, key=lambda j: x[j]) if able else label
        flags.append(best != label and int(np.argmax(x)) != label)
    return flags


def test_confident_learning_is_northcutts_rule():
    rng = np.random.default_rng(2)
    given = rng.integers(0, 3, 60)
    p = rng.dirichlet([1, 1, 1], 60) + 0.6 * np.eye(3)[given]
    p /= p.sum(1, keepdims=True)
    assert confident(p, given)[0].tolist() == slow_confident(p, given)
    assert confident(p, given)[0].any()


def test_flipped_labels_are_found_and_small_scenes_left_out():
    rng = np.random.default_rng(1)
    given = np.array([0] * 30 + [1] * 30 + [2] * 2 + [-1])
    features = rng.normal(0, 0.4, (63, 3)) + 2 * np.eye(3)[given]
    found = suspect(features, given, SCENES)
    assert found.classes.tolist() == [0, 1] and not found.suspected.any()
    assert np.isnan(found.probability[60:]).all() and found.scene(62) == ""
    (check,) = flips({"features": features}, given, SCENES, rounds=2)
    assert (check.labels, check.flipped, check.suspected) == (60, 3, 0)
    assert check.recall[0] > 0.5 and check.precision[0] > 0.7
    with pytest.raises(UnitscopeError, match="none"):
        flips({"features": features}, given, SCENES, share=0.001)
    with pytest.raises(UnitscopeError, match="fewer than two"):
        suspect(features[:30], given[:30], SCENES)


def test_two_sources_must_suspect_the_same():
    rng = np.random.default_rng(4)
    given = np.repeat([0, 1, 2], 20)
    sure = rng.normal(0, 0.3, (60, 3)) + 2 * np.eye(3)[given]
    fooled = sure.copy()
    fooled[:4] = fooled[20:24]  # what a network that is surely wrong makes of four photos
    one, other = (suspect(values, given, SCENES) for values in (fooled, sure))
    assert one.suspected[:4].any() and not other.suspected.any()
    assert not together([one, other]).suspected.any()
    assert together([one, one]).suspected.tolist() == one.suspected.tolist()
    checks = flips({"features": fooled, "annotations": sure}, given, SCENES, rounds=2)
    assert [c.source for c in checks] == ["features", "annotations", "both"]
    assert checks[2].suspected == checks[1].suspected == 0 < checks[0].suspected
