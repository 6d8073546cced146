"""The page Reliance on a run whose effects are measured, and on one whose are not."""

from __future__ import annotations

import shutil
import time

import pytest

from core.cli import main
from core.views import reliance as shown
from core.views import truth
from core.views.reliance import Wanted
from pages.parts import changes
from tests.pages.showing import show, specs, text_of

pytestmark = pytest.mark.usefixtures("facts_without_effect")

PAGE = "pages/8_Reliance.py"
QUICK = {"fillings": "mean", "controls": "1"}


@pytest.fixture(scope="module")
def root(tiny_run, tmp_path_factory):
    """A run with the effects of both splits."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    given = [tiny_run.digest, "--out", str(root), "--filling", "mean", "--controls", "1"]
    # Top 10 asks nothing of a graph, and the built-in one knows none of these things.
    assert main(["failure", *given, "--layer", "body.3", "--cc", "top10"]) == 0
    return root


@pytest.fixture(autouse=True)
def cache(root, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))


@pytest.mark.parametrize("view", ["", "shortcuts", "mistakes", "failure"])
def test_every_view_opens_by_its_own_address(view):
    at = show(PAGE, **QUICK, cc="top10", view=view)
    assert not at.error and at.title[0].value == "What scenes rest on"
    assert "not measured yet" not in text_of(at)
    assert len(specs(at)) == {"shortcuts": 0}.get(view, 1), text_of(at)


def test_a_scene_and_one_of_its_concepts():
    at = show(PAGE, **QUICK, cc="top10", scene="barn", concept="2", of="barn")
    (spec,) = specs(at)
    assert spec["title"]["text"] == "What barn rests on"
    assert "photos with thing 2" in text_of(at)


def test_without_effects_it_offers_a_job_to_owners_alone(root, owner, monkeypatch):
    started = []
    monkeypatch.setattr(changes, "start_measuring", lambda asked, root: started.append(asked))
    at = show(PAGE, controls="2", fillings="mean")
    assert "not measured yet" in text_of(at)
    assert "python -m core reliance" in at.code[0].value and "--out" not in at.code[0].value
    at.button(key="do-reliance").click().run()
    (asked,) = started
    assert asked[0] == "reliance" and asked[asked.index("--controls") + 1] == "2"


def test_others_see_the_command_alone(root):
    at = show(PAGE, controls="2", fillings="mean")
    assert not [b for b in at.button if b.key == "do-reliance"]
    assert "python -m core reliance" in at.code[0].value


def test_the_state_counts_photos_and_photos_of_a_row_are_ranked(root, tiny_run):
    from core.runs.run_file import Run

    with Run(root / tiny_run.path.name) as run:
        wanted = Wanted("test", ("mean",), 1)
        assert shown.state(run, wanted, "body.3").whole
        other = shown.state(run, Wanted("test", ("mean",), 3), "body.3")
        assert (other.done, other.total) == (0, 75) and other.passes > 0
        frame = shown.photos_of(run, wanted, "body.3", "barn", 2)
        assert set(frame["scene"]) == {"barn"} and len(frame)
        net = frame["net"].dropna()
        assert net.is_monotonic_decreasing
        every = shown.photos_of(run, wanted, "body.3", "barn", 2, pull=True)
        assert len(every) > len(frame)


def test_a_job_is_named_by_its_command_line(root):
    class Named:
        digest = "abc"

    asked = shown.arguments("reliance", Named, root, Wanted("test", ("mean",), 1), "body.3")
    assert shown.command(asked) == (
        "python -m core reliance abc --split test --filling mean --controls 1 --layer body.3"
    )
    assert shown.at_work(asked, root) is None
    assert shown.job_name(asked) == shown.job_name(list(asked))


def test_the_test_of_truth_is_started_by_owners_alone(root, tiny_run, owner, monkeypatch):
    started = []
    monkeypatch.setattr(changes, "start_measuring", lambda asked, root: started.append(asked))
    at = show(PAGE, view="truth")
    assert "not tested on this run yet" in " ".join(one.value for one in at.header)
    at.number_input(key="at-photos").set_value(5).run()
    at.selectbox(key="at-by").set_value("mean").run()
    at.button(key="do-truth").click().run()
    (asked,) = started
    assert asked[:6] == ["truth", tiny_run.digest, "--split", "test", "--by", "mean"]
    assert asked[asked.index("--photos") + 1] == "5" and "--layer" not in asked
    assert at.code[0].value == (
        f"python -m core truth {tiny_run.digest} --split test --by mean --photos 5"
    )


def test_others_see_the_command_of_the_test_of_truth_alone(root):
    at = show(PAGE, view="truth")
    assert not [b for b in at.button if b.key == "do-truth"]
    assert "python -m core truth" in at.code[0].value


@pytest.mark.slow
def test_a_job_of_the_test_of_truth_is_watched_and_shown(root, tiny_run, owner):
    """A real job, of one method, with a heartbeat, until its table is on the page."""
    asked = truth.arguments(tiny_run, root, "body.3", "mean", 2)
    asked[2:2] = ["--methods", "area"]
    job, now = changes.start_measuring(asked, root), None
    try:
        end = time.monotonic() + 240
        while (now := shown.at_work(asked, root)) is not None and now.state != "finished":
            assert now.state in ("starting", "running") and time.monotonic() < end, now
            time.sleep(0.5)
    finally:
        if now is None or now.state != "finished":
            changes.stop(job.name, root, at_once=True)
    assert now is not None and now.beat is not None
    assert (now.beat.stage, now.beat.done) == ("truth", now.beat.total)
    at = show(PAGE, view="truth")
    assert "Wrong answers" in [one.value for one in at.header] and len(specs(at)) == 1
