"""Units disabled in a large run: blocks give what the whole gives, and an estimate comes first."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import drawn_run
from benchmarks.toggle import compare as compare_exactly
from benchmarks.toggle import drawn_toggler
from core.ablation import closed_form, recorded, toggler
from core.ablation.closed_form import ClosedForm, Sample
from core.ablation.edits import Edit
from core.ablation.result import Estimate
from core.ablation.toggler import Toggler, prepare
from core.cli import main
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import Z
from core.foundation.progress import Progress, Stopped
from core.runs.run_file import Run


@pytest.fixture
def blocks(monkeypatch) -> Callable[[int, int], None]:
    """Every run is large from now on: blocks and a sample of so many images."""

    def small(block: int, sample: int) -> None:
        monkeypatch.setattr(recorded, "HELD", 0)
        for module in (recorded, closed_form, toggler):
            monkeypatch.setattr(module, "BLOCK", block)
        monkeypatch.setattr(closed_form, "SAMPLE", sample)

    return small


def answered(ready: Toggler) -> ClosedForm:
    assert isinstance(ready.answers, ClosedForm)
    return ready.answers


def test_blocks_give_the_bytes_of_the_whole(blocks):
    rng = np.random.default_rng(0)
    edits = [Edit(tuple(rng.choice(23, k, replace=False).tolist())) for k in (0, 1, 4, 9, 23)]
    edits += [Edit((1, 7, 20), 0.5), Edit((3, 4), clamp=1.5)]
    chosen = [None, np.sort(rng.choice(205, 77, replace=False)), np.array([204, 3, 3])]
    whole = drawn_toggler(205, 23, 11)
    wanted = [whole.predict(edit, rows) for edit in edits for rows in chosen]
    unedited = whole.unedited()
    blocks(16, 40)
    ready = drawn_toggler(205, 23, 11)
    assert not answered(ready).by_unit.flags.c_contiguous  # nothing was turned and copied
    got = [ready.predict(edit, rows) for edit in edits for rows in chosen]
    for one, other in zip([*wanted, unedited], [*got, ready.unedited()], strict=True):
        assert one.predicted.tobytes() == other.predicted.tobytes()
        assert one.larger.tobytes() == other.larger.tobytes()
    for edit in edits[:5]:
        compare_exactly(ready, edit.units, ready.predict(edit).predicted)


def slow_tally(ready: Toggler, sample: Sample, off: tuple[int, ...]) -> tuple[int, int, int]:
    """(right before, gained, lost) over the sample, image by image in float64."""
    right = gained = lost = 0
    for row in sample.rows:
        logits = ready.logits(np.array([row]))[0].astype(np.float64)
        after = logits.copy()
        for unit in off:
            after -= float(ready.pooled[row, unit]) * ready.weights[unit].astype(np.float64)
        was, now = (int(x.argmax()) == ready.target[row] for x in (logits, after))
        right += was
        gained += now and not was
        lost += was and not now
    return right, gained, lost


def drawn_with_scenes(images: int, units: int, classes: int, seed: int = 0) -> Toggler:
    """About half of its answers are right; scenes are the classes, splits alternate."""
    ready = drawn_toggler(images, units, classes, seed)
    rng = np.random.default_rng(seed)
    right = rng.random(images) < 0.5
    best = ready.logits().argmax(1)
    frame = ready.images.assign(
        target=np.where(right, best, ready.target).astype(np.int32),
        split=np.where(np.arange(images) % 4 == 0, "test", "train"),
    )
    frame["scene"] = frame["target"].astype(str)
    found = answered(ready)
    return Toggler.linear(ready.pooled, found.base, found.weights, frame, ready.names)


@pytest.mark.parametrize("size", [300, 1500, 2700])
def test_the_interval_of_the_estimate_holds_the_exact_change(blocks, size):
    """Of 1,000 drawn toggles, each with a sample of its own: a tenth, half, nine tenths of all."""
    blocks(64, size)
    ready = drawn_with_scenes(3000, 16, 6)
    rng = np.random.default_rng(1)
    held = np.zeros(3)
    widths = []
    for seed in range(1000):
        off = Edit(tuple(rng.choice(16, int(rng.integers(1, 12)), replace=False).tolist()))
        answered(ready).sample = Sample.of(ready.recorded, answered(ready).base, size, seed)
        first, exact = ready.estimate(off), ready.toggle(off)
        assert first is not None and len(first.images) == size
        gain, wanted = first.gain, exact.gain.value
        held[0] += gain.low <= wanted <= gain.high
        for k in (0, 1):
            share = first.accuracy[k]
            held[1 + k] += share.low <= exact.accuracy[k].value <= share.high
        if gain.gained + gain.lost >= 20:
            widths.append((gain.high - gain.low) / wald(gain, size))
        if seed < 5:
            right, gained, lost = slow_tally(ready, answered(ready).sample, off.units)
            assert (first.accuracy[0].right, gain.gained, gain.lost) == (right, gained, lost)
    assert (held / 1000 >= 0.93).all(), held
    # As narrow as the finite population allows: √(1 − f) of what an endless one would give.
    assert np.median(widths) == pytest.approx(np.sqrt(1 - size / 3000), rel=0.03)


def wald(gain: Any, n: int) -> float:
    """Width of Wald's interval without the finite population."""
    square = (gain.gained + gain.lost) / n - gain.value**2
    return 2 * Z * float(np.sqrt(square / n))


def test_the_estimate_is_reported_first_and_then_the_blocks(blocks):
    blocks(64, 100)
    ready = drawn_with_scenes(1000, 16, 6)
    seen: list[Progress] = []
    told = ready.toggle(Edit((1, 2, 3)), progress=seen.append)
    first = ready.estimate(Edit((1, 2, 3)))
    assert not told.fraction and not told.estimated and len(told.images) == 1000
    assert first is not None and first.estimated == "100 photos, 10 % of them, drawn at random"
    assert all(isinstance(one, Estimate) for one in seen)
    assert [one.done for one in seen][:3] == [0, 0, 64] and seen[-1].done == seen[-1].total == 1000
    assert {one.gain for one in seen} == {first.gain}
    assert first.to_json()["estimated"] and told.to_json()["estimated"] is None
    with pytest.raises(Stopped, match="stopped after 64 of 1,000 images"):
        ready.toggle(Edit((1, 2, 3)), stop=lambda: True)


def test_parts_are_estimated_by_the_part_of_the_sample_that_is_of_them(blocks):
    blocks(32, 400)
    ready = drawn_with_scenes(2000, 16, 6)
    edit = Edit((0, 5, 9))
    first = ready.estimate(edit, splits=["test"])
    assert first is not None and set(first.images["split"]) == {"test"}
    assert first.chosen == "split test" and first.fraction == 0.2
    exact = ready.toggle(edit, splits=["test"])
    assert exact.gain.value == pytest.approx(first.gain.value, abs=0.15)
    for part, whole in zip(first.headlines("1"), exact.headlines("1"), strict=True):
        assert part.of == whole.of and part.after.n < whole.after.n
    rows = np.arange(0, 2000, 2)
    among = ready.estimate(edit, rows=rows)
    assert among is not None and (among.images["image"].to_numpy() % 2 == 0).all()
    # Answered at once, or not there: no estimate, and the exact answer says what is wrong.
    assert ready.estimate(edit, ids=["3", "8"]) is None
    assert ready.estimate(edit, scene="nowhere") is None
    with pytest.raises(UnitscopeError, match="nowhere"):
        ready.toggle(edit, scene="nowhere")
    with pytest.raises(UnitscopeError, match="there is no unit 16"):
        ready.estimate(Edit((16,)))


def test_small_runs_have_no_estimate():
    ready = drawn_with_scenes(1000, 16, 6)
    seen: list[Progress] = []
    assert ready.estimate(Edit((1,))) is None
    ready.toggle(Edit((1,)), progress=seen.append)
    assert not seen


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Run:
    return drawn_run.make(2500, 24, root=tmp_path_factory.mktemp("drawn"), cell=2, photos=10)


def test_a_drawn_run_is_disabled_without_its_arrays_in_memory(drawn, blocks, monkeypatch):
    exact = prepare(drawn).toggle(Edit((1, 2, 3)))
    assert exact.changed > 0  # the drawn head has a say
    blocks(256, 500)
    ready = prepare(drawn)
    for array in (ready.pooled, answered(ready).base):
        assert not array.flags.writeable  # a map of the file
    again = ready.toggle(Edit((1, 2, 3)))
    assert again.to_json() | {"seconds": 0} == exact.to_json() | {"seconds": 0}
    # Where an image could not be used, rows are copied, and are those of the right images.
    images = recorded.images_of(drawn)
    monkeypatch.setattr(
        recorded, "images_of", lambda _: images.drop(index=7).reset_index(drop=True)
    )
    fewer = prepare(drawn)
    assert fewer.pooled.flags.writeable
    assert np.array_equal(fewer.pooled[7], ready.pooled[8])


def test_a_value_that_is_no_number_is_found_in_any_block(drawn, blocks, tmp_path):
    blocks(256, 500)
    array = np.array(drawn.array("logits"))
    array[2001, 3] = np.nan
    found = recorded._not_finite(np.array(drawn.array(f"pooled-{drawn_run.LAYER}")), array)
    assert found.tolist() == [2001]


def test_the_verb_estimates_where_it_is_asked_to(drawn, blocks, capsys):
    blocks(256, 500)
    given = ["toggle", str(drawn.path), "--units", ",".join(map(str, range(12))), "--split", "all"]
    assert main([*given, "--json"]) == 0
    exact = json.loads(capsys.readouterr().out)
    assert main([*given, "--json", "--estimate"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert exact["estimated"] is None
    assert first["estimated"] == "500 photos, 20 % of them, drawn at random"
    low, high = (first["gain"][k] for k in ("low", "high"))
    assert low <= exact["gain"]["value"] <= high and first["accuracy_after"]["n"] == 500
    assert main([*given, "--estimate"]) == 0
    assert "estimated from 500 photos, 20 % of them" in capsys.readouterr().out


def test_the_interface_estimates_where_it_is_asked_to(drawn, blocks):
    from core import api

    blocks(256, 500)
    run = api.Run(Path(drawn.path))
    first = run.toggle(range(12), splits=["all"], estimate=True)
    exact = run.toggle(range(12), splits=["all"])
    assert first.fraction == 0.2 and not exact.fraction
    assert first.gain.low <= exact.gain.value <= first.gain.high


def test_contribution_scores_of_a_large_run_are_those_of_a_random_part(drawn, monkeypatch):
    """What is summed over is bounded, said, and right for the photos that were drawn."""
    from core.ablation import contribution
    from core.ablation.contribution import UnitConcepts, contribution_scores
    from core.knowledge.core_concepts import all_core_concepts
    from core.knowledge.kinds import open_knowledge

    core = all_core_concepts(drawn, open_knowledge("builtin"), kinds=["top10"])["top10"]
    whole = UnitConcepts.of(drawn, bounded=True)
    assert not whole.drawn and len(whole.images) == 2500
    monkeypatch.setattr(contribution, "MOST", 1000)
    monkeypatch.setattr(contribution, "DRAWN", len(drawn.sql("SELECT * FROM counts")) // 5)
    part = UnitConcepts.of(drawn, bounded=True)
    assert part.drawn and 490 <= len(part.images) <= 500
    at = np.flatnonzero(whole.images["image"].isin(part.images["image"]))
    wanted = whole.contribution(core, rows=at)
    found = contribution_scores(drawn, core)
    assert np.array_equal(found.scores, wanted.scores) and found.scores.any()
    assert np.array_equal(found.active, wanted.active)
    assert found.selection == f"all photos (of {len(part.images)} drawn at random)"
    # Rows are places among all images: where they are asked for, all are read.
    rows = contribution_scores(drawn, core, rows=at)
    assert np.array_equal(rows.scores, wanted.scores)
    assert not UnitConcepts.of(drawn).drawn
