"""The test of truth: figures against plain loops, methods that know the truth and its opposite."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from core.attribution import redrawn, truth
from core.attribution.case import Opened
from core.attribution.effects import measure
from core.attribution.judged import FIGURES, Asked, kept_truths
from core.attribution.methods import METHODS, Method
from core.attribution.redrawn import Redrawing, answers_without, removal_of
from core.attribution.regions import Regions
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.paper.truth import truth_table, truth_tables
from core.rooms.counterfactual import SceneEdit, picture
from core.rooms.dataset import Rooms


@pytest.fixture(scope="module")
def opened(tiny_run) -> Opened:
    return Opened.of(tiny_run)


def knowing(case, a, b):
    return measure(case, ("mean",), 0).margin(a, b)


def lying(case, a, b):
    return -knowing(case, a, b)


@pytest.fixture(scope="module")
def found(opened):
    for name in ("knowing", "lying"):
        METHODS.register(Method(name, name, name, f"tests.attribution.test_truth:{name}"))
    names = ("knowing", "lying", "area", "evidence", "occlusion-mean", "account-minmax-*")
    asked = Asked(names, "test", 6, "mean")
    try:
        with pytest.raises(Stopped, match="8 of 12 photos are judged"):
            said = []
            truth.hold_against_truth(opened, asked, said.append, lambda: said[-1].done >= 8)
        yield truth.hold_against_truth(opened, asked)
    finally:
        METHODS.unregister("knowing")
        METHODS.unregister("lying")


# -- one photo ------------------------------------------------------------------------------------


def test_figures_of_a_photo_against_loops():
    rng = np.random.default_rng(0)
    for _ in range(60):
        n = int(rng.integers(3, 8))
        said, true = rng.integers(-2, 3, n).astype(float), rng.standard_normal(n)
        true[rng.random(n) < 0.3] *= 0.01
        if np.ptp(said) > 0:
            expected = spearmanr(said, true)[0]
            assert truth.rank_correlation(said, true) == pytest.approx(expected)
        best = [k for k in range(n) if said[k] == max(said)]
        assert truth.first(said).tolist() == [1 / len(best) if k in best else 0 for k in range(n)]
        most = max(abs(v) for v in true)
        hits = []
        for s, t in zip(said, true, strict=True):
            if abs(t) > 0.05 * most:
                hits.append(0.5 if s == 0 else float((s > 0) == (t > 0)))
        assert truth.sign_accuracy(said, true) == pytest.approx(np.mean(hits))
        pairs = [
            1.0 if abs(said[i]) < abs(said[j]) else 0.5 if abs(said[i]) == abs(said[j]) else 0.0
            for i in range(n)
            for j in range(n)
            if abs(true[i]) <= 0.05 * most and abs(true[j]) >= 0.5 * most
        ]
        got = truth.distraction(said, true)
        assert (np.isnan(got) and not pairs) or got == pytest.approx(np.mean(pairs))
        less = truth.lesser_half(said, rng)
        rest = [k for k in range(n) if k not in less]
        assert len(less) == n // 2 and max(said[list(less)]) <= min(said[rest])
    assert truth.rank_correlation(np.zeros(4), np.arange(4.0)) == 0


def test_target_sensitivity_asks_for_what_sets_classes_apart():
    for_a, for_c = np.array([2.0, 0.0, 1.0]), np.array([0.0, 3.0, 1.0])
    assert truth.target_sensitivity(for_a, for_c, for_a, for_c) == 1
    assert truth.target_sensitivity(for_c, for_a, for_a, for_c) == 0
    assert truth.target_sensitivity(for_a, for_a, for_a, for_c) == 0.5
    assert truth.target_sensitivity(for_a, for_c, for_a, for_a - 1) == 1  # nothing sets c off
    assert np.isnan(truth.target_sensitivity(for_a, for_c, for_a, for_a))
    one = np.array([0.0, 3.0, 1.0])  # concept 0 gets no more than it did, concept 1 does
    assert truth.target_sensitivity(one * 0, one, for_a, for_c) == 0.75


# -- all of them ----------------------------------------------------------------------------------


def test_who_knows_the_truth_is_told_from_who_says_the_opposite(found):
    assert found.by == "mean" and found.photos == {"wrong": 6, "right": 6}
    assert list(found.not_judged) == ["occlusion-mean"]
    for kind in ("wrong", "right"):
        for name, value in {"rank": 1, "top": 1, "sign": 1, "target": 1, "distraction": 1}.items():
            figure = found.figure("knowing", name, kind)
            assert figure.value == pytest.approx(value) or figure.n == 0
            assert figure.n == 0 or figure.low <= figure.value <= figure.high <= 1
        assert found.figure("lying", "rank", kind).value == pytest.approx(-1)
        for name in ("top", "sign", "target"):
            assert found.figure("lying", name, kind).value == 0
        assert found.figure("random", "rank", kind).n == 6  # the control is always asked
        best = found.best[kind].value
        assert found.figure("knowing", "deletion", kind).value <= best
    chance = found.figure("area", "top").chance
    assert chance == pytest.approx(1 / found.concepts["wrong"], abs=0.1)
    more = found.beyond("knowing", "lying", "rank")
    assert more.value == pytest.approx(2) and more.n == 6


def test_deletion_and_preservation_are_those_of_edited_photos(opened, found):
    row = found.scores[(found.scores["method"] == "evidence")].iloc[2]
    removal = removal_of(opened, "mean")
    photo = truth._photo(opened, removal, int(row["image"]))
    a, b, _ = photo.classes
    said = METHODS.row("evidence").ask(photo.case, a, b)
    order = np.argsort(said)
    top, rest = [int(order[-1])], [int(k) for k in order[: len(said) // 2]]
    alone, without = (
        opened.logits(np.stack(removal.photos(photo.case, [gone])))[0].argmax()
        for gone in (top, rest)
    )
    assert row["deletion"] == float(alone != a) and row["preservation"] == float(without == a)
    effects = measure(photo.case, ("mean",), 0)
    assert photo.effect(a, b) == pytest.approx(effects.margin(a, b), abs=1e-5)


def test_removals_are_kept_and_damage_is_noticed(opened, monkeypatch):
    case = opened.case(int(opened.recorded.numbers[9]))
    removal = removal_of(opened, "blur")
    first = answers_without(case, removal, [(), (0,), (1, 2)])
    assert first[0] == pytest.approx(case.logits, abs=1e-5)
    with monkeypatch.context() as patched:
        patched.setattr(type(removal), "photos", lambda *_: pytest.fail("asked again"))
        assert (answers_without(case, removal, [(2, 1), ()]) == first[[2, 0]]).all()
    for path in opened.run.path.with_suffix(".derived").glob("removed-*.npz"):
        path.write_bytes(b"damaged")
    assert answers_without(case, removal, [(0,)])[0] == pytest.approx(first[1], abs=1e-5)
    with pytest.raises(UnitscopeError, match="cannot be drawn again, only those of rooms"):
        removal_of(opened, "redrawn")
    with pytest.raises(UnitscopeError, match="unknown filling 'blurr'"):
        removal_of(opened, "blurr")
    assert removal_of(opened).name == redrawn.STAND_IN


def test_what_was_found_is_kept_beside_the_run(opened, found):
    again = next(t for t in kept_truths(opened.run) if t.asked == found.asked)
    assert [row.figures.keys() for row in again.rows] == [row.figures.keys() for row in found.rows]
    assert repr(again.rows) == repr(found.rows) and again.left_out == found.left_out
    folder = opened.run.path.with_suffix(".derived")
    (folder / "truth-0.json").write_text(json.dumps({"run": opened.run.digest, "rows": [1]}))
    (folder / "truth-1.json").write_text("{")
    assert len(kept_truths(opened.run)) == 1


def test_tables_hold_every_figure(found):
    tables = truth_tables(found)
    assert list(tables) == ["wrong", "right"]
    table = tables["wrong"]
    assert len(table.rows) == 11 and len(table.columns) == len(FIGURES)
    text, csv, latex = table.to_text(), table.to_csv(), table.to_latex()
    assert "knowing" in text and csv.count("\n") == 12 and "\\toprule" in latex
    assert any("occlusion-mean is not judged" in note for note in table.notes)
    with pytest.raises(KeyError):
        truth_table(found, "no such")


def test_nothing_to_judge_is_said(opened):
    with pytest.raises(UnitscopeError, match="unknown split"):
        truth.hold_against_truth(opened, Asked(("area",), "tets", 1, "mean"))


# -- drawing again --------------------------------------------------------------------------------


def test_objects_of_rooms_are_left_out_of_the_drawing(opened):
    dataset, image = Rooms(9), "office-test-000"
    whole = picture(dataset, image)
    names = [name for name in whole.names["object"] if name]
    masks = np.stack([whole.object == whole.names["object"].index(name) for name in names])
    regions = Regions(np.arange(1, len(names) + 1), tuple(names), ("object",) * len(names), masks)
    images = SimpleNamespace(iloc=[image])
    recorded = SimpleNamespace(images={"id": images})
    view = SimpleNamespace(view=lambda photo: photo)
    way = Redrawing(SimpleNamespace(recorded=recorded, preprocessing=view), dataset)
    case = SimpleNamespace(row=0, regions=regions)
    rows = way.rows(case)
    can = {names[row] for row in rows}
    assert "desk" in can and not {"wall", "floor", "ceiling"} & can
    assert all(masks[row].sum() >= redrawn.LEAST for row in rows)
    desk = int(names.index("desk"))
    same, without = way.photos(case, [(), (desk,)])
    assert (same == whole.rgb).all()
    edit = SceneEdit(without=("object:desk",))
    assert (without == picture(dataset, image, edit).rgb).all() and (without != same).any()
