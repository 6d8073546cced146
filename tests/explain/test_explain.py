"""Learned concepts, metrics and accounts, against literal set-based references."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.cli import main
from core.datasets import open_dataset
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.account import account, scene_table, scenes_of
from core.explain.learned import learned_concepts, select, stand_in_concepts, unit_ious
from core.explain.metrics import (
    METRICS,
    consistency,
    difference,
    explain_predictions,
    similarity,
)
from core.explain.photo import explain_photo, measure_stand_in, speaking_labels
from core.foundation.errors import UnitscopeError
from core.foundation.names import place
from core.foundation.settings import Settings
from core.knowledge.core_concepts import CoreConcepts
from core.knowledge.kinds import open_knowledge
from core.paper.tables import all_core_concepts, table_1, table_4
from tests import tiny

# -- references -----------------------------------------------------------------------------


def select_slow(rows: pd.DataFrame, strategy: str, inclusive: bool) -> set[tuple[int, int, int]]:
    """Ths{·} by loops over images and units."""
    chosen = set()
    table: dict[int, dict[int, dict[int, float]]] = {}
    for r in rows.itertuples():
        table.setdefault(r.image, {}).setdefault(r.unit, {})[r.concept] = r.iou
    for image, units in table.items():
        tau = min(max(values.values()) for values in units.values())
        for unit, values in units.items():
            best = max(values.values())
            for concept, iou in values.items():
                if strategy == "whole_layer":
                    keep = iou > 0
                elif strategy == "highest_iou":
                    keep = concept == min(c for c, v in values.items() if v == best)
                else:
                    keep = iou >= tau if inclusive else iou > tau
                if keep:
                    chosen.add((image, unit, concept))
    return chosen


def explain_slow(learned, core, predicted, target) -> dict[str, float]:
    """Eqs. 3 to 8 with Python sets, image by image."""
    lc = [set(np.flatnonzero(row)) for row in learned]
    cc = [set(np.flatnonzero(row)) for row in core]

    def cm(x, y):
        return len(lc[x] & cc[y]) / len(cc[y])

    def sm(x, y):
        return len(lc[x] & cc[y]) / len(lc[x] | cc[y])

    def dm(x, y):
        return len(lc[x] - cc[y]) / len(cc[y])

    used = [
        x
        for x in range(len(lc))
        if predicted[x] >= 0 and target[x] >= 0 and cc[predicted[x]] and cc[target[x]] and lc[x]
    ]
    false = [x for x in used if predicted[x] != target[x]]
    true = [x for x in used if predicted[x] == target[x]]

    def share(metric):
        wins = [metric(x, predicted[x]) > metric(x, target[x]) for x in false]
        return np.mean(wins) if wins else np.nan

    def mean(metric, images):
        return np.mean([metric(x, target[x]) for x in images]) if images else np.nan

    return {
        "CM_FP": share(cm),
        "DM_FP": share(dm),
        "SM_FP": share(sm),
        "CM_TP": mean(cm, true),
        "CM_TFP": mean(cm, false),
        "SM_TP": mean(sm, true),
        "SM_TFP": mean(sm, false),
        "n_false": len(false),
        "n_true": len(true),
    }


def world(seed: int, images: int = 30, scenes: int = 5, concepts: int = 7):
    rng = np.random.default_rng(seed)
    learned = rng.random((images, concepts)) < rng.random()
    core = rng.random((scenes, concepts)) < 0.4
    predicted = rng.integers(-1, scenes, images)
    target = np.where(rng.random(images) < 0.4, predicted, rng.integers(-1, scenes, images))
    return learned, core, predicted, target


# -- selection ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_selection_follows_eq_2(seed, inclusive):
    rng = np.random.default_rng(seed)
    every = [(i, u, c) for i in range(4) for u in range(5) for c in range(1, 5)]
    rows = pd.DataFrame(
        [(*p, rng.integers(1, 6) / 10) for p in every if rng.random() < 0.5],
        columns=["image", "unit", "concept", "iou"],
    )
    for strategy in ("whole_layer", "highest_iou", "minmax_threshold"):
        picked, tau = select(rows, strategy, inclusive)
        got = set(zip(picked["image"], picked["unit"], picked["concept"], strict=True))
        assert got == select_slow(rows, strategy, inclusive), strategy
        if strategy == "minmax_threshold":
            for image, value in tau.items():
                part = rows[rows["image"] == image]
                assert value == part.groupby("unit")["iou"].max().min()


def test_learned_concepts_are_those_of_the_run(tiny_run):
    """Without colours and scenes; the union over units; both IoUs; all three strategies."""
    kept = tiny_run.sql("SELECT concept FROM concepts WHERE category NOT IN ('color', 'scene')")
    for iou in ("image", "dataset_normalised"):
        rows = unit_ious(tiny_run, "body.3", iou)
        assert set(rows["concept"]) <= set(kept["concept"]) and (rows["iou"] > 0).all()
        sizes = []
        for strategy in ("whole_layer", "minmax_threshold", "highest_iou"):
            learned = learned_concepts(tiny_run, "body.3", strategy, iou)
            want = {(i, c) for i, _, c in select_slow(rows, strategy, True)}
            image, column = learned.has.nonzero()
            assert {
                (int(learned.images[i]), int(c) + 1) for i, c in zip(image, column, strict=True)
            } == want
            sizes.append(learned.has.sum())
        assert sizes[0] >= sizes[1] >= sizes[2]
    with pytest.raises(UnitscopeError, match="nearest: minmax_threshold"):
        learned_concepts(tiny_run, strategy="minmax")
    with pytest.raises(UnitscopeError, match="unknown IoU"):
        unit_ious(tiny_run, iou="dice")


# -- metrics --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_metrics_equal_the_set_based_reference(seed):
    learned, core, predicted, target = world(seed)
    told = explain_predictions(learned, core, predicted, target, shuffles=3)
    slow = explain_slow(learned, core, predicted, target)
    for name in METRICS:
        assert told.figures[name].value == pytest.approx(slow[name], nan_ok=True), name
    assert told.figures["CM_FP"].n == slow["n_false"]
    assert told.figures["CM_TP"].n == slow["n_true"]
    assert slow["n_false"] + slow["n_true"] + sum(told.left_out.values()) == len(learned)


@given(st.integers(0, 10**6))
def test_metrics_keep_their_bounds(seed):
    learned, core, *_ = world(seed)
    core = core[core.any(1)]
    cm, sm, dm = (f(learned, core) for f in (consistency, similarity, difference))
    sizes, own = core.sum(1), learned.sum(1)[:, None]
    assert ((cm >= 0) & (cm <= 1) & (sm <= cm + 1e-12)).all()
    np.testing.assert_allclose(cm * sizes + dm * sizes, np.broadcast_to(own, cm.shape))


def test_intervals_and_chance():
    """Where learned concepts are the core concepts themselves, explanation is certain; where
    they have nothing to do with scenes, chance covers it."""
    rng = np.random.default_rng(0)
    core = np.eye(6, 12, dtype=bool) | np.eye(6, 12, 6, dtype=bool)
    target = rng.integers(0, 6, 400)
    predicted = (target + rng.integers(0, 6, 400)) % 6
    told = explain_predictions(core[predicted], core, predicted, target)
    figure = told.figures["CM_FP"]
    # As certain as 338 of 338 can be: Wilson's interval, not [1, 1].
    assert figure.value == figure.high == 1.0 and figure.n == 338
    assert figure.low == pytest.approx(0.98876, abs=1e-5)
    assert figure.chance_high < 0.6
    random = rng.random((400, 12)) < 0.3
    figure = explain_predictions(random, core, predicted, target).figures["SM_FP"]
    assert figure.chance_low <= figure.value <= figure.chance_high
    assert figure.low < figure.value < figure.high
    again = explain_predictions(random, core, predicted, target).figures["SM_FP"]
    assert again == figure


def test_mismatched_concepts_are_told():
    with pytest.raises(UnitscopeError, match=r"4 concepts.* 5"):
        consistency(np.ones((1, 4), bool), np.ones((1, 5), bool))


def test_stand_ins_are_the_labels_of_active_units():
    labels = pd.DataFrame({"unit": [0, 2, 2], "concept": [3, 1, 2]})
    active = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]], bool)
    assert stand_in_concepts(labels, active, 4).tolist() == [
        [False, False, True, False],
        [False] * 4,
        [True, True, True, False],
    ]
    with pytest.raises(UnitscopeError, match="unit 2; the maps have 2"):
        stand_in_concepts(labels, active[:, :2], 4)


# -- accounts and tables --------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Facts that relate the tiny world's scenes to some of its concepts."""
    path = tmp_path_factory.mktemp("graph") / "facts.tsv"
    facts = [
        "AtLocation\tthing 1\tattic",
        "AtLocation\tthing 2\tattic",
        "HasA\tattic\tpiece 6",
        "AtLocation\tthing 3\tbarn",
        "PartOf\tpiece 7\tbarn",
        "RelatedTo\tnothing\tbarn",
    ]
    path.write_text("\n".join(facts) + "\n", encoding="utf-8")
    return open_knowledge(f"triples:{path}", cache=path.parent)


def test_core_concepts_of_a_run(tiny_run, graph):
    cores = all_core_concepts(tiny_run, graph)
    assert set(cores) == {"top10", "scc", "icc"}
    scc = cores["scc"]
    named = {
        scene: {scc.concepts[c] for c in np.flatnonzero(scc.members[k])}
        for k, scene in enumerate(scc.scenes)
    }
    assert named == {
        "attic": {"thing 1", "thing 2", "piece 6"},
        "barn": {"thing 3", "piece 7"},
        "cellar": set(),
    }


def test_an_account_is_its_facts(tiny_run, graph):
    """Seen, met, missed, foreign and the metrics of one image, from sets of its own rows."""
    core = all_core_concepts(tiny_run, graph)["scc"]
    truth = tiny_run.sql(
        "SELECT i.id, i.image, t.name AS target, p.name AS predicted, i.correct FROM images i "
        "JOIN scenes t USING (scene) JOIN scenes p ON p.class = i.predicted ORDER BY image"
    )
    wrong = truth[~truth["correct"].astype(bool) & (truth["target"] == "attic")].iloc[0]
    told = account(tiny_run, core, wrong["id"], "body.3", "whole_layer").to_json()
    rows = unit_ious(tiny_run, "body.3")
    rows = rows[rows["image"] == wrong["image"]]
    names = dict(tiny_run.sql("SELECT concept, name FROM concepts").to_numpy())
    seen = {names[c] for c in rows["concept"]}
    assert {s["concept"] for s in told["seen"]} == seen
    for s in told["seen"]:
        own = rows[rows["concept"].map(names) == s["concept"]].sort_values("iou", ascending=False)
        assert s["iou"] == own["iou"].iloc[0] and s["count"] == len(own)
        assert [u["iou"] for u in s["units"]] == own["iou"].head(5).tolist()
        # The place is that of the very pixels that were counted for the strongest unit.
        counted = tiny_run.sql(
            "SELECT overlap FROM image_iou WHERE layer = 1 AND image = ? AND unit = ? "
            "AND concept = ?",
            [int(wrong["image"]), s["units"][0]["unit"], int(own["concept"].iloc[0])],
        )["overlap"][0]
        place = s["where"]
        assert place["pixels"] == counted
        assert place["box"][0] <= place["x"] <= place["box"][2]
        assert place["box"][1] <= place["y"] <= place["box"][3]
    here = set(
        tiny_run.sql(
            "SELECT name FROM areas JOIN concepts USING (concept) WHERE image = ?",
            [int(wrong["image"])],
        )["name"]
    )
    attic = {"thing 1", "thing 2", "piece 6"}
    side = told["sides"]["target"]
    assert {m["concept"] for m in side["met"]} == attic & seen
    assert {m["concept"]: m["annotated"] for m in side["missed"]} == {
        c: c in here for c in attic - seen
    }
    assert {m["concept"] for m in side["foreign"]} == seen - attic
    by_scene = {row["scene"]: row for row in told["scenes"]}
    assert set(by_scene) == {"attic", "barn"}  # the cellar has no core concepts
    assert by_scene["attic"]["CM"] == len(attic & seen) / 3
    assert by_scene["attic"]["SM"] == len(attic & seen) / len(attic | seen)
    assert by_scene["attic"]["DM"] == len(seen - attic) / 3
    assert "an attic" in told["sentence"] and f"a {wrong['predicted']}" in told["sentence"]
    json.dumps(told)  # plain data


def test_two_spellings_of_one_scene_do_not_shift_images(tmp_path):
    """`attic` and `Attic` are one class of the network; every image still has one row."""
    root = tiny.write_folder(tmp_path / "data", images=40)
    table = root / "scenes.csv"
    lines = table.read_text().splitlines()
    lines[1:6] = [line.replace("attic", "Attic") for line in lines[1:6]]
    table.write_text("\n".join(lines) + "\n")
    run = execute(plan(Settings(f"folder:{root}", tiny.SPEC, shuffles=1)), tmp_path / "runs")
    row, predicted, target = scenes_of(run)
    assert row.tolist() == list(range(40))
    names = run.sql("SELECT name FROM scenes ORDER BY scene")["name"].tolist()
    assert {"attic", "Attic"} <= set(names)
    right = run.sql("SELECT correct FROM images ORDER BY image")["correct"].astype(bool)
    assert ((predicted == target) == right).all()


def test_accounts_tell_mistakes(tiny_run, graph):
    core = all_core_concepts(tiny_run, graph)["icc"]
    with pytest.raises(UnitscopeError, match="unknown image of this run '0099'; nearest: "):
        account(tiny_run, core, "0099")
    with pytest.raises(UnitscopeError, match="unknown layer"):
        account(tiny_run, core, "099", layer="body.7")


def test_a_photo_without_masks(tiny_run, graph):
    """An image of the run, given as a photo: the same prediction, and labels of the very
    units that the run found active in it."""
    core = all_core_concepts(tiny_run, graph)["scc"]
    data = open_dataset(tiny_run.info["settings"]["dataset"]["spec"])
    told = explain_photo(tiny_run, core, data.photo(17), "mine", "body.3", chance=1.0).to_json()
    row = tiny_run.sql(
        "SELECT c.name, i.confidence FROM images i JOIN classes c ON c.class = i.predicted "
        "WHERE i.image = 17"
    ).iloc[0]
    assert told["predicted"] == row["name"]
    assert told["confidence"] == pytest.approx(row["confidence"], abs=1e-5)
    active = tiny_run.sql("SELECT unit FROM hits WHERE layer = 1 AND image = 17")["unit"]
    assert told["active_units"] == len(active)
    labels = speaking_labels(tiny_run, "body.3", chance=1.0)
    want = set(labels[labels["unit"].isin(active)]["name"])
    assert {s["concept"] for s in told["seen"]} == want
    assert told["correct"] is None and set(told["sides"]) <= {"predicted"}
    json.dumps(told)


def test_stand_in_measure_counts_what_it_says(tiny_run, graph):
    core = all_core_concepts(tiny_run, graph)["scc"]
    told = measure_stand_in(
        tiny_run, core, ["train"], ["test"], "body.3", strategy="whole_layer", chance=1.0
    )
    labels = speaking_labels(tiny_run, "body.3", 1, ["train"], chance=1.0)
    assert len(labels) > 5
    concept_of = dict(labels[["unit", "concept"]].to_numpy())
    hits = tiny_run.sql(
        "SELECT image, unit FROM hits JOIN images USING (image) WHERE layer = 1 AND split = 'test'"
    )
    said = {(i, concept_of[u]) for i, u in hits.to_numpy() if u in concept_of}
    rows = unit_ious(tiny_run, "body.3")
    test = set(tiny_run.sql("SELECT image FROM images WHERE split = 'test'")["image"])
    seen = {(i, c) for i, c in rows[["image", "concept"]].to_numpy().astype(int) if i in test}
    assert told["images"] == 75
    assert told["precision"] == pytest.approx(len(said & seen) / len(said))
    assert told["recall"] == pytest.approx(len(said & seen) / len(seen))
    # Labels of a network with random weights are not better than chance, and that is said.
    with pytest.raises(UnitscopeError, match="units have a label better than chance at a false"):
        measure_stand_in(tiny_run, core, ["train"], ["test"], "body.3", chance=0.001)
    with pytest.raises(UnitscopeError, match="hold no images"):
        measure_stand_in(tiny_run, core, ["trian"], ["test"], "body.3")


def test_tables_in_every_form(tiny_run, graph, tmp_path, capsys):
    table = table_1(tiny_run, graph, ["test"], layer="body.3")
    assert [names for names, _ in table.rows] == [
        (s, k)
        for s in ("Whole layer", "Highest IoU", "Threshold")
        for k in ("Top 10", "SCC", "ICC")
    ]
    told = table.to_json()
    assert told["rows"][0]["CM_FP"]["n"] + told["rows"][0]["CM_TP"]["n"] <= 75
    json.dumps(told)
    lines = table.to_csv().splitlines()
    assert len(lines) == 10 and lines[0].startswith("concepts of units,core concepts,CM_FP_value")
    latex = table.to_latex()
    assert latex.count("\\\\") == 10 and "\\begin{tabular}{llrrrrrrr}" in latex
    assert "split test" in table.to_text() and "left out" in table.to_text()
    four = table_4([tiny_run], graph)
    assert [names[1] for names, _ in four.rows] == ["SCC", "ICC"]
    root, facts = str(tiny_run.path.parent), f"triples:{tmp_path / 'facts.tsv'}"
    (tmp_path / "facts.tsv").write_text("AtLocation\tthing 1\tattic\n")
    status = main(
        ["tables", "latest", "--out", root, "--knowledge", facts, "--csv", str(tmp_path), "--json"]
    )
    assert status == 0 and (tmp_path / "table_1.csv").read_text().count("\n") == 10
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["rows"]
    override = tmp_path / "nodes.tsv"
    status = main(
        ["align", "latest", "--out", root, "--knowledge", facts, "--write", str(override)]
    )
    assert status == 0 and "thing 1" in capsys.readouterr().out
    text = (
        override.read_text()
        .replace("thing 1\tthing 1", "thing 1\t")
        .replace("thing 2\t", "thing 2\tthing 1", 1)
    )
    override.write_text(text)
    arguments = ["concepts", "latest", "--out", root, "--knowledge", facts, "--scene", "attic"]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [m["concept"] for m in told["members"]] == ["thing 1"]
    assert "AtLocation" in told["members"][0]["edges"]
    assert main([*arguments, "--overrides", str(override), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [m["concept"] for m in told["members"]] == ["thing 2"]
    assert main(["concepts", "latest", "--out", root, "--cc", "icc", "--allow-empty"]) == 0
    assert "P_sc" in capsys.readouterr().out
    status = main(["explain", "latest", "--out", root, "--image", "004", "--knowledge", facts])
    assert status == 0 and "The network" in capsys.readouterr().out


def test_a_rank_that_scenes_share_is_told_as_shared():
    names = [f"scene {k}" for k in range(15)]
    members = np.eye(15, 16, dtype=bool)
    core = CoreConcepts(
        "scc", names, [f"c{k}" for k in range(16)], ["object"] * 16, members, 1.0 * members, {}
    )
    learned = np.zeros(16, bool)
    learned[15] = True  # in no scene's core: CM and SM are 0 for all
    table = scene_table(core, learned)
    for name in ("CM", "SM"):
        ranks = table[f"{name}_rank"].tolist()
        assert table[name].eq(0).all() and place(ranks[0], ranks) == "the same for all 15"
