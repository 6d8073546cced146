"""Units in depth and merged concepts: the pages, and what they ask, recomputed slowly."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.ablation.contribution import UnitConcepts
from core.cli import main
from core.dissect.formula_search import Sizes
from core.dissect.formulas import finished_formulas, unit_formulas
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.signatures import signatures
from core.figures import unit_map as maps
from core.figures.base import Caption
from core.figures.export import export
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Settings
from core.knowledge.kinds import open_knowledge
from core.merging.fuse import Space
from core.merging.gain import run_gain
from core.runs.kept import kept
from core.runs.run_file import Run
from core.views import disable, fusion
from core.views.knowledge import know
from core.views.labels import METHODS, formula_labels, most_often, single_labels, with_chance
from core.views.pictures import active_region
from core.views.runs import resolve
from core.views.unit_map import MAP_METHOD, correlations, layout, unit_map
from core.views.units import unit_contribution, unit_table
from tests import tiny
from tests.pages.showing import show, specs, text_of
from tests.two_runs import make_knowing

LAYER = "body.3"
PAGE = "pages/2_Units.py"
CONCEPTS = "pages/3_Concepts.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_knowing(tmp_path_factory.mktemp("units"), shuffles=3)


@pytest.fixture
def run(root, monkeypatch) -> Run:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return Run(resolve(None, root))


def lit_and_labels(run: Run, unit: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every image: where the unit is lit, and its label maps with those of the whole image."""
    found = []
    for image in run.sql("SELECT image FROM images ORDER BY image")["image"]:
        lit = active_region(run, LAYER, unit, int(image))
        maps = np.asarray(run.array("labels")[image])
        whole = run.sql(
            "SELECT concept FROM areas JOIN concepts c USING (concept) WHERE image = ? AND whole",
            [int(image)],
        )["concept"]
        planes = [np.full(lit.shape, concept) for concept in whole]
        found.append((lit, np.stack([*maps, *planes])))
    return found


def holds(labels: np.ndarray, concepts, ops) -> np.ndarray:
    """Where a formula holds, pixel by pixel, read from the left."""
    out = (labels == concepts[0]).any(0)
    for concept, op in zip(concepts[1:], ops[1:], strict=True):
        one = (labels == concept).any(0)
        out = {1: out | one, 2: out & one, 3: out & ~one}[op]
    return out


# -- labels by every method -----------------------------------------------------------------


@pytest.mark.parametrize("unit", [2, 7])
def test_every_method_has_the_overlap_of_its_pixels(run, unit):
    s = signatures(run, LAYER)
    rows = pd.concat([single_labels(run, LAYER, unit), formula_labels(s, Sizes(s), unit)])
    assert rows["method"].tolist() == list(METHODS)
    images = lit_and_labels(run, unit)
    for row in rows.itertuples():
        both = either = 0
        for lit, labels in images:
            there = holds(labels, row.concepts, row.ops)
            both += int((lit & there).sum())
            either += int((lit | there).sum())
        assert row.iou == pytest.approx(both / either, abs=1e-12), row.method
    by = rows.set_index("method")["iou"]
    assert by["all"] == max(by["all"], by["annotated"], by["highest_iou"])
    assert by["all"] <= by["beam"] <= by["optimal"]
    assert rows.set_index("method").loc["optimal", "note"].startswith("proven")
    table = unit_table(run, LAYER).set_index("unit").loc[unit]
    first = rows.iloc[0]
    assert (first["concepts"][0], first["chance"]) == (table["concept"], table["chance"])


def test_most_often_the_best_is_counted_photo_by_photo(run):
    kinds = run.sql("SELECT concept, category FROM concepts").set_index("concept")["category"]
    for unit in (0, 5):
        wins: Counter = Counter()
        for lit, labels in lit_and_labels(run, unit):
            best, winner = 0.0, 0
            for concept in sorted(set(np.unique(labels)) - {0}):
                there = (labels == concept).any(0)
                iou = (lit & there).sum() / max(1, (lit | there).sum())
                if iou > best and kinds[concept] not in ("color", "scene"):
                    best, winner = iou, int(concept)
            if winner:
                wins[winner] += 1
        told = most_often(run, LAYER, unit)
        assert dict(zip(told["concept"], told["images"], strict=True)) == wins
        assert told["images"].is_monotonic_decreasing


def test_a_unit_is_named_by_every_method(run):
    at = show(PAGE, unit="3")
    (frame,) = [t.value for t in at.dataframe if "its own measure" in t.value.columns]
    assert len(frame) == 5 and frame["method"].tolist() == list(METHODS.values())
    assert frame["IoU"].iloc[4] >= frame["IoU"].iloc[3] >= frame["IoU"].iloc[0]
    assert "](Units?" in text_of(at)


def test_without_maps_the_methods_without_formulas_remain(tmp_path, monkeypatch):
    folder = tiny.write_folder(tmp_path / "tiny", 20)
    out = tmp_path / "cache"
    given = Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), q=0.05, shuffles=0, keep_maps=False)
    execute(plan(given), out).close()
    monkeypatch.setenv("UNITSCOPE_CACHE", str(out))
    at = show(PAGE, unit="3")
    (frame,) = [t.value for t in at.dataframe if "its own measure" in t.value.columns]
    assert frame["p-value"].tolist() == ["–"] * 3
    assert "this run kept none" in text_of(at)


def test_no_unit_no_label(run):
    with pytest.raises(UnitscopeError, match="units are 0 to 11"):
        single_labels(run, LAYER, 12)


# -- contribution scores ---------------------------------------------------------------------


def test_scenes_of_a_unit_are_summed_photo_by_photo(run):
    known = know(run, open_knowledge(f"triples:{run.path.parents[1] / 'facts.tsv'}"), "facts")
    learned = UnitConcepts.of(run, LAYER)
    for kind in ("icc", "scc"):
        core = known.core[kind]
        told = learned.contribution(core)
        for unit in range(12):
            frame = unit_contribution(run, told, unit)
            assert frame["score"].is_monotonic_decreasing
            for row in frame.itertuples():
                behind = learned.behind(core, row.scene, unit)
                assert row.inside == behind["core"].sum()
                assert row.outside == (~behind["core"]).sum()
                assert row.score == row.inside - row.outside
                assert row.active == behind["image"].nunique()
                better = [told.scores[told.scene(row.scene), t] > row.score for t in range(12)]
                assert row.rank == 1 + sum(better)
            silent = set(known.annotated.scenes) - set(frame["scene"])
            assert all(
                not len(learned.behind(core, s, unit))
                for s in silent
                if told.has_core[told.scene(s)]
            )
    with pytest.raises(UnitscopeError, match="units 0 to 11"):
        unit_contribution(run, told, 12)


def test_a_unit_says_what_is_lost_without_it(run):
    assert "Disabled, accuracy" not in text_of(show(PAGE, unit="3"))
    at = show(PAGE, unit="3", serves="1")
    told = disable.prepare(run, LAYER).toggle(disable.Edit((3,)), None, ["test"])
    assert 0 < told.accuracy[0].n < run.image_count.used  # of the held-out photos alone
    gain = told.gain
    shown = text_of(at)
    assert "accuracy on test goes" in shown
    assert f"to **{told.accuracy[1].value:.2%}**" in shown
    assert f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}; {gain.gained} newly correct" in shown
    assert "off=3" in shown and "Positive score for" in shown
    at = show(PAGE, unit="3", serves="1", layer="body.1")
    assert "this layer is replayed tail" in text_of(at)


# -- the map --------------------------------------------------------------------------------


def test_correlations_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 7)).astype(np.float32)
    values[:, 3] = 2.5
    found = correlations(values, chunk=16)
    for a in range(7):
        for b in range(7):
            x, y = values[:, a].astype(float), values[:, b].astype(float)
            top = ((x - x.mean()) * (y - y.mean())).sum()
            low = np.sqrt(((x - x.mean()) ** 2).sum() * ((y - y.mean()) ** 2).sum())
            wanted = 1.0 if a == b else top / low if low > 1e-9 else 0.0
            assert found[a, b] == pytest.approx(wanted, abs=1e-9)


def test_the_layout_is_steady_and_keeps_groups_together():
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(3), 8)
    values = rng.normal(size=(200, 3))[:, group] + 0.3 * rng.normal(size=(200, 24))
    similar = correlations(values)
    points = layout(similar)
    assert points.tobytes() == layout(similar).tobytes()
    assert points.shape == (24, 2) and np.abs(points).max() == pytest.approx(1)
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (group[apart.argmin(1)] == group).all()
    for few in (1, 2, 4):
        assert layout(similar[:few, :few]).shape == (few, 2)
    # Two units: classical scaling puts them √(2 − 2r) apart, here before the map is scaled.
    two = layout(similar[:2, :2])
    assert two[0, 0] == pytest.approx(-two[1, 0]) and np.allclose(two[:, 1], 0, atol=1e-6)


def test_the_map_is_made_once_and_drawn(run):
    first = unit_map(run, LAYER)
    (kept,) = run.path.with_suffix(".derived").glob("map-*.csv")
    text = kept.read_bytes()
    pd.testing.assert_frame_equal(first, unit_map(run, LAYER))
    kept.unlink()
    unit_map(run, LAYER)
    assert kept.read_bytes() == text
    frame = maps.placed(unit_table(run, LAYER), first)
    assert frame["unit"].tolist() == list(range(12))
    chart = maps.units_map(frame, MAP_METHOD, Caption("tiny", "net", LAYER))
    assert b"t-SNE" in export(chart, "svg")


def dots_of(at) -> pd.DataFrame:
    """The units on the map of a page."""
    (chart,) = at.get("vega_lite_chart")
    frames = [pa.ipc.open_stream(one.data.data).read_pandas() for one in chart.proto.datasets]
    return max(frames, key=len)


def test_the_map_is_a_view_of_the_units(run):
    at = show(PAGE, view="map")
    assert sorted(dots_of(at)["unit"]) == list(range(12))
    assert not [t for t in at.dataframe if "threshold" in t.value.columns]
    assert "t-SNE" in text_of(at)
    at = show(PAGE, view="map", category="part")
    table = unit_table(run, LAYER)
    assert set(dots_of(at)["unit"]) == set(table.loc[table["category"] == "part", "unit"])


# -- merged concepts ------------------------------------------------------------------------


def groups_on(at) -> set[frozenset[str]]:
    frames = [t.value for t in at.dataframe if "group" in t.value.columns]
    return {frozenset(g.split(" + ")) for frame in frames for g in frame["group"]}


def test_groups_are_those_of_the_command_line(run, capsys, tmp_path):
    at = show(CONCEPTS, view="groups", k="4", merge="thing 1~piece 8", apart="thing 2~thing 3")
    links = tmp_path / "links.tsv"
    links.write_text("merge\tthing 1\tpiece 8\nkeep_apart\tthing 2\tthing 3\n")
    assert (
        main(
            [
                "cluster",
                run.digest,
                "--out",
                str(run.path.parent),
                "--k",
                "4",
                "--embedding",
                "words",
                "--links",
                str(links),
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    wanted = {frozenset(g["members"]) for g in told["groups"] if len(g["members"]) > 1}
    assert groups_on(at) == wanted and wanted
    assert any({"thing 1", "piece 8"} <= g for g in wanted)
    assert "in 4 groups" in text_of(at)
    assert any("--k 4 --embedding words --links links.tsv" in c.value for c in at.code)
    assert f"tables {run.digest} --table 5 --layer {LAYER}" in text_of(at)
    assert "core embed" in text_of(at)


def test_pairs_are_kept_in_the_address(run):
    at = show(CONCEPTS, view="groups")
    (one,) = [b for b in at.selectbox if b.label == "This concept"]
    one.set_value("thing 2")
    (two,) = [b for b in at.selectbox if b.label == "and this one"]
    two.set_value("piece 6").run()
    (button,) = [b for b in at.button if b.label == "Merge them"]
    button.click().run()
    assert not at.exception
    told = at.query_params["merge"]
    assert (told if isinstance(told, str) else told[0]) == "thing 2~piece 6"
    assert any({"thing 2", "piece 6"} <= g for g in groups_on(at))
    (forget,) = [b for b in at.button if b.label == "Forget"]
    forget.click().run()
    assert not at.query_params.get("merge") and not at.exception


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"merge": "thing 1~piece 8", "apart": "thing 1~piece 8"}, "merged and kept apart"),
        ({"merge": "thong 1~piece 8"}, "nearest: thing 1"),
    ],
)
def test_a_pair_that_cannot_be_is_told(run, address, words):
    at = show(CONCEPTS, view="groups", **address)
    assert any(words in box.value for box in at.warning), [box.value for box in at.warning]


def test_the_gain_is_drawn_where_it_was_made(run):
    known = know(run, open_knowledge(f"triples:{run.path.parents[1] / 'facts.tsv'}"), "facts")
    space = Space(run, known.graph)
    made = run_gain(run, space, space.vectors("words"), layer="body.1")
    pd.testing.assert_frame_equal(
        fusion.gain(run, "body.1", "words", knowledge=known), made, check_dtype=False
    )
    at = show(CONCEPTS, view="groups", embedding="words", layer="body.1", within="barn")
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert titles == ["What merging concepts does to the IoU of units"]


# -- formulas of all units ------------------------------------------------------------------


def test_formulas_of_all_units_are_shown_where_they_are_there(run):
    def columns(at) -> pd.DataFrame:
        (frame,) = [t.value for t in at.dataframe if "threshold" in t.value.columns]
        return frame

    folder = run.path.with_suffix(".derived")
    for path in kept(folder, "formulas-*.jsonl"):
        path.unlink()
    at = show(PAGE)
    assert "formula" not in columns(at)
    assert f"core formulas {run.digest} --layer {LAYER}" in text_of(at)
    assert not list(kept(folder, "formulas-*.jsonl")), "a page never searches all units"
    unit_formulas(run, LAYER, units=[0, 1])
    (part,) = kept(folder, "formulas-*.jsonl")
    before = part.read_bytes()
    assert finished_formulas(run, LAYER) is None
    assert "formula" not in columns(show(PAGE)) and part.read_bytes() == before
    made, s = unit_formulas(run, LAYER, shuffles=2)
    assert [one.iou for one in finished_formulas(run, LAYER)] == made["iou"].tolist()
    frame = columns(show(PAGE)).set_index("unit")
    made = made.set_index("unit")
    assert frame["formula"].to_dict() == made["formula"].fillna("").to_dict()
    assert np.allclose(frame["IoU of the formula"], made["iou"].reindex(frame.index))
    rows = with_chance(run, LAYER, formula_labels(s, Sizes(s), 3))
    chance = rows.set_index("method")["chance"]
    assert chance["beam"] == made.loc[3, "chance"] and np.isnan(chance["optimal"])
