"""Re-training via PE: features and labels against slow definitions, honesty of the splits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.dissect.labels import unit_labels
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.knowledge.core_concepts import Annotated
from core.knowledge.kinds import open_knowledge
from core.paper.tables import all_core_concepts, table_6
from core.retrain.svm import (
    SvmSettings,
    accuracies,
    annotated_concepts,
    fit_svm,
    hidden_states,
    learned_by,
    metric_features,
    reciprocal_ranks,
    retrain_pe,
    subsets,
)
from core.views import retrain as shown
from core.views.work import unfinished

pytestmark = pytest.mark.usefixtures("facts_without_effect")


def slow_features(learned, core):
    """CM, SM, DM and MRR of one image from sets and sorted lists, scenes without CC left out."""
    lc = set(np.flatnonzero(learned))
    sets = [set(np.flatnonzero(row)) for row in core if row.any()]
    cm = [len(lc & cc) / len(cc) for cc in sets]
    sm = [len(lc & cc) / len(lc | cc) for cc in sets]
    dm = [len(lc - cc) / len(cc) for cc in sets]

    def rank(values, k, best):
        return 1 + sum((v > values[k]) if best == "largest" else (v < values[k]) for v in values)

    mrr = [
        (1 / rank(cm, k, "largest") + 1 / rank(sm, k, "largest") + 1 / rank(dm, k, "least")) / 3
        for k in range(len(sets))
    ]
    return cm + sm + dm, mrr


@pytest.mark.parametrize("seed", range(6))
def test_features_are_their_definition(seed):
    rng = np.random.default_rng(seed)
    images, scenes, concepts = rng.integers(1, 9), rng.integers(1, 7), rng.integers(1, 10)
    learned = rng.random((images, concepts)) < 0.4
    core = rng.random((scenes, concepts)) < 0.4
    core[0, 0] = True
    got = metric_features(learned, core)
    for x in range(images):
        metrics, mrr = slow_features(learned[x], core)
        assert got["metrics"][x] == pytest.approx(metrics)
        assert got["mrr"][x] == pytest.approx(mrr)


def test_ties_share_the_best_rank():
    flat = np.zeros((1, 3))
    assert reciprocal_ranks(flat, flat, flat).tolist() == [[1.0, 1.0, 1.0]]


def test_without_core_concepts_there_is_nothing_to_learn_from():
    with pytest.raises(UnitscopeError, match="no scene has core concepts"):
        metric_features(np.ones((2, 3), bool), np.zeros((2, 3), bool))


def test_the_svm_standardises_and_chooses_c_on_training_images_alone():
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(0, 1, (90, 4))
    # One feature tells all, at a scale that would drown without standardising; one is constant.
    x[:, 0] = 1e-4 * (y + rng.normal(0, 0.1, 90))
    x[:, 1] *= 1e4
    x[:, 2] = 7.0
    fitted = fit_svm(x[:60], y[:60], x[60:])
    assert (fitted.predicted == y[60:]).mean() > 0.9
    again = fit_svm(x[:60], y[:60], x[60:] * 0)
    assert again.cost == fitted.cost and again.validation == fitted.validation
    with pytest.raises(UnitscopeError, match="all of one scene"):
        fit_svm(x, np.zeros(90), x)


def test_every_choice_of_groups():
    assert len(subsets()) == 7 and len(set(subsets())) == 7


@pytest.fixture(scope="module")
def cores(tiny_run):
    every = all_core_concepts(tiny_run, open_knowledge("builtin"), splits=["train"])
    return {"top10": every["top10"]}


def test_core_concepts_of_a_split_know_nothing_of_the_other(tiny_run):
    graph = open_knowledge("builtin")
    own = all_core_concepts(tiny_run, graph, splits=["train"])["top10"]
    assert (own.frequency == Annotated.from_run(tiny_run, ["train"]).frequency).all()
    assert (own.frequency != all_core_concepts(tiny_run, graph)["top10"].frequency).any()


def test_labels_stand_in_for_masks_from_the_training_images_alone(tiny_run):
    asked = SvmSettings(strategy="whole_layer", per_unit=2, chance=1.0)
    got = learned_by(tiny_run, "labels", asked).toarray()
    kinds = ["object", "part"]
    labels = unit_labels(tiny_run, categories=kinds, per_unit=2, splits=["train"])
    names = tiny_run.sql("SELECT image FROM images ORDER BY image")["image"].tolist()
    hits = tiny_run.sql("SELECT image, unit FROM hits WHERE layer = 1")
    for row, image in enumerate(names):
        active = set(hits["unit"][hits["image"] == image])
        expected = set(labels["concept"][labels["unit"].isin(active)] - 1)
        assert set(np.flatnonzero(got[row])) == expected
    with pytest.raises(UnitscopeError, match="unknown source"):
        learned_by(tiny_run, "mask", SvmSettings())


def test_masks_alone_are_what_is_annotated(tiny_run):
    got = annotated_concepts(tiny_run).toarray()
    areas = tiny_run.sql("SELECT image, concept FROM areas WHERE area > 0")
    concepts = tiny_run.sql(
        "SELECT concept FROM concepts WHERE category NOT IN ('scene', 'color') ORDER BY concept"
    )["concept"].tolist()
    images = tiny_run.sql("SELECT image FROM images ORDER BY image")["image"].tolist()
    for row, image in enumerate(images[:20]):
        own = set(areas["concept"][areas["image"] == image]) & set(concepts)
        assert {concepts[c] for c in np.flatnonzero(got[row])} == own


def test_the_classifiers_input_is_the_pooled_layer_of_a_pooling_network(tiny_run):
    pooled, seen = (hidden_states(tiny_run, None, kind) for kind in ("layer", "classifier"))
    assert pooled.shape == seen.shape == (150, 12)
    assert np.abs(pooled - seen).max() < 1e-5
    with pytest.raises(UnitscopeError, match="unknown hidden state"):
        hidden_states(tiny_run, None, "logits")


PICKS = [("metrics",), ("hidden",), ("metrics", "mrr", "hidden")]


@pytest.fixture(scope="module")
def told(tiny_run, cores, tmp_path_factory):
    return retrain_pe(
        tiny_run, cores, SvmSettings(groups=PICKS), root=tmp_path_factory.mktemp("svm")
    )


def test_what_comes_out(told, tiny_run):
    assert [(r["cc"], r["source"], len(r["groups"])) for r in told["rows"]] == [
        (None, None, 1),
        (None, "masks", 1),
        ("top10", "masks", 1),
        ("top10", "masks", 3),
        ("top10", "labels", 1),
        ("top10", "labels", 3),
    ]
    rows = accuracies(told)
    assert [row.method for row in rows[:2]] == ["most frequent scene", "network"]
    scored = tiny_run.sql("SELECT correct FROM images WHERE split = 'test'")["correct"]
    assert rows[1].right == int(scored.sum()) and rows[1].n == 75
    for row, own in zip(rows[2:], told["rows"], strict=True):
        assert row.right == sum(
            p == t for p, t in zip(own["predicted"], told["target"], strict=True)
        )
        assert row.low <= row.accuracy <= row.high
        assert row.needs_masks == (own["source"] == "masks")
        assert row.gain == pytest.approx((row.right - rows[1].right) / 75)
        assert row.gain_low <= row.gain <= row.gain_high
    assert rows[2].hidden_gain == 0
    frame = shown.table_6(told)
    assert len(frame) == len(rows) and frame["groups"].iloc[-1] == "metrics + mrr + hidden"


def test_a_stopped_one_goes_on_to_the_same_bytes(told, tiny_run, cores, tmp_path):
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Stopped):
        retrain_pe(tiny_run, cores, SvmSettings(groups=PICKS), root=tmp_path, stop=stop)
    folder = tmp_path / f"svm-{told['digest']}.partial"
    assert len([p for p in folder.glob("*.json") if p.name != "progress.json"]) == 2
    again = retrain_pe(tiny_run, cores, SvmSettings(groups=PICKS), root=tmp_path)
    assert json.dumps(again) == json.dumps(told)
    assert not folder.exists()
    assert shown.pe_results(tmp_path)["digest"].tolist() == [told["digest"]]

    def never(_progress):
        raise AssertionError("something was computed")

    # Killed when all but the clean-up was done: not in the making any more, and cleaned up later.
    folder.mkdir()
    (folder / "progress.json").write_text("{}")
    assert unfinished(tmp_path, kind="svm") == []
    assert (
        retrain_pe(tiny_run, cores, SvmSettings(groups=PICKS), root=tmp_path, progress=never)["n"]
        == 75
    )
    assert not folder.exists()


def test_table_6(told):
    table = table_6([told])
    assert [names for names, _ in table.rows] == [
        ("network", "–"),
        ("SVM (hidden state)", "–"),
        ("SVM (masks alone)", "masks"),
        ("SVM (Top 10)", "masks"),
        ("SVM (Top 10)", "labels"),
    ]
    text = table.to_text()
    assert "SVM (Top 10) masks" in text and "needs the masks of the test photo" in text
    assert table.to_json()["rows"][0][table.columns[0]]["n"] == 75
    assert table.to_csv().splitlines()[0].startswith("method,LC(x) from,photos")
    latex = table.to_latex()
    assert "mathrm" not in latex and latex.count("{") == latex.count("}")
    two = table_6([told, told])
    assert len(set(two.columns)) == 2
    short = {**told, "rows": told["rows"][:3]}
    with pytest.raises(UnitscopeError, match="all three groups"):
        table_6([short])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [("metric",)]}, "unknown group of features 'metric'; nearest: metrics"),
        ({"train": ["trian"]}, "unknown split 'trian'"),
        ({"test": ["train"]}, "share a split"),
        ({"sources": ["mask"]}, "unknown source"),
        ({"layer": "body.9"}, "unknown layer"),
    ],
)
def test_mistakes_are_told(tiny_run, cores, tmp_path, change, message):
    with pytest.raises(UnitscopeError, match=message):
        retrain_pe(tiny_run, cores, SvmSettings(**change), root=tmp_path)


def test_the_command_line(tiny_run, capsys):
    from core.cli import main

    out = ["--out", str(tiny_run.path.parent)]
    assert main(["retrain", "pe", "latest", "--cc", "top10", "--json", *out]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(answer["methods"]) == 2 + 2 + 12
    assert main(["retrain", "pe", "latest", "--cc", "top10", *out]) == 0
    assert "needs no masks of the test photo" in capsys.readouterr().out
    assert main(["retrain", "pe", "latest", "--cc", "tpo10", *out]) == 2
    assert "nearest: top10" in capsys.readouterr().err
