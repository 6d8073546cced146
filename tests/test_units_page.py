"""Units in depth and merged concepts: the pages, and what they ask, recomputed slowly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import browse
from core.browse import disable, units
from core.browse.knowledge import know, open_knowledge
from core.dissect.signatures import signatures
from core.errors import UnitscopeError
from core.manipulate.contribution import UnitConcepts
from core.run import Settings, execute, plan
from core.store import Run
from tests import tiny
from tests.test_app import show, text_of

LAYER = "body.3"
PAGE = "pages/2_Units.py"
FACTS = "AtLocation\tthing 1\tattic\nHasA\tattic\tpiece 6\nHasA\tbarn\tthing 2\n"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("units")
    folder = tiny.write_folder(base / "tiny", 60)
    facts = base / "facts.tsv"
    facts.write_text(FACTS)
    execute(
        plan(
            Settings(
                f"folder:{folder}", tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=3,
                knowledge=f"triples:{facts}",
            )
        ),
        base / "cache",
    ).close()  # fmt: skip
    return base / "cache"


@pytest.fixture
def run(root, monkeypatch) -> Run:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return Run(browse.resolve(None, root))


def lit_and_labels(run: Run, unit: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of every image: where the unit is lit, and its label maps with those of the whole image."""
    found = []
    for image in run.sql("SELECT image FROM images ORDER BY image")["image"]:
        lit = browse.lit(run, LAYER, unit, int(image))
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
    rows = pd.concat(
        [units.single_labels(run, LAYER, unit), units.formula_labels(s, units.Sizes(s), unit)]
    )
    assert rows["method"].tolist() == list(units.METHODS)
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
    assert rows.set_index("method").loc["optimal", "told"].startswith("proven")
    table = browse.unit_table(run, LAYER).set_index("unit").loc[unit]
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
        told = units.most_often(run, LAYER, unit)
        assert dict(zip(told["concept"], told["images"], strict=True)) == wins
        assert told["images"].is_monotonic_decreasing


def test_a_unit_is_named_by_every_method(run):
    at = show(PAGE, unit="3")
    (frame,) = [t.value for t in at.dataframe if "its own measure" in t.value.columns]
    assert len(frame) == 5 and frame["method"].tolist() == list(units.METHODS.values())
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
    assert len(frame) == 3 and frame["chance"].isna().all()
    assert "this run kept none" in text_of(at)


def test_no_unit_no_label(run):
    with pytest.raises(UnitscopeError, match="units are 0 to 11"):
        units.single_labels(run, LAYER, 12)


# -- scenes it serves and harms -------------------------------------------------------------


def test_scenes_of_a_unit_are_summed_photo_by_photo(run):
    known = know(run, open_knowledge(f"triples:{run.path.parents[1] / 'facts.tsv'}"), "facts")
    learned = UnitConcepts.of(run, LAYER)
    for kind in ("icc", "scc"):
        core = known.core[kind]
        told = learned.contribution(core)
        for unit in range(12):
            frame = units.unit_contribution(run, told, unit)
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
            assert all(not len(learned.behind(core, s, unit)) for s in silent
                       if told.has_core[told.scene(s)])  # fmt: skip
    with pytest.raises(UnitscopeError, match="units 0 to 11"):
        units.unit_contribution(run, told, 12)


def test_a_unit_says_what_is_lost_without_it(run):
    assert "Switched off" not in text_of(show(PAGE, unit="3"))
    at = show(PAGE, unit="3", serves="1")
    told = disable.prepare(run, LAYER).toggle(disable.Edit((3,)))
    gain = told.gain
    shown = text_of(at)
    assert f"to **{told.accuracy[1].value:.2%}**" in shown
    assert f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}; {gain.gained} photos" in shown
    assert "off=3" in shown and "It serves" in shown
    at = show(PAGE, unit="3", serves="1", layer="body.1")
    assert "this layer is replayed tail" in text_of(at)
