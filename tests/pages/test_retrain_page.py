"""The page Retrain: what it shows of finished results, what it starts, and that in a browser."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import streamlit as st

from core.cli import main
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.predictions import import_predictions
from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Retraining, Settings
from core.knowledge.kinds import open_knowledge
from core.paper.tables import all_core_concepts
from core.retrain.estimate import retraining as cost_of
from core.retrain.plan import plan as plan_cc
from core.retrain.svm import retrain_pe
from core.retrain.training import retrain
from core.runs.run_file import Run
from core.views import retrain as shown
from core.views.runs import resolve
from tests import tiny
from tests.browsing import Server, Visit
from tests.pages.showing import show, specs, text_of

pytestmark = pytest.mark.usefixtures("facts_without_effect")

pytestmark = pytest.mark.usefixtures("owner")

PAGE = "pages/6_Retrain.py"
WAIT = 90_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("again") / "tiny", 60)


@pytest.fixture(scope="module")
def root(folder, tmp_path_factory):
    """A run, and nothing trained on it."""
    out = tmp_path_factory.mktemp("cache")
    execute(plan(Settings(f"folder:{folder}", tiny.SPEC, q=0.05, shuffles=1)), out).close()
    return out


@pytest.fixture(scope="module")
def asked(folder):
    return Retraining(
        f"folder:{folder}",
        tiny.SPEC,
        cc=("top10", "annotated"),
        weights=(0.5, 2.0),
        seeds=2,
        epochs=2,
        batch=8,
        rate=0.02,
    )


@pytest.fixture(scope="module")
def full(root, asked, tmp_path_factory):
    """The same run with a re-training and SVMs."""
    out = tmp_path_factory.mktemp("full")
    for file in root.iterdir():
        (out / file.name).symlink_to(file)
    told = retrain(plan_cc(asked), out)
    run = Run(resolve(None, out))
    cores = all_core_concepts(run, open_knowledge("builtin"), splits=["train"], kinds=["top10"])
    svm = retrain_pe(run, {"top10": cores["top10"]}, root=out)
    run.close()
    return out, told, svm


@pytest.fixture
def cache(root, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return root


@pytest.fixture
def filled(full, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(full[0]))
    return full


# -- the page -------------------------------------------------------------------------------


def test_nothing_is_there_yet(cache):
    at = show(PAGE)
    told = text_of(at)
    assert "No training with concepts has finished yet" in told
    assert "**21 trainings**" in told and "about **5,040 photos**" not in told
    # 30 of 60 photos to train on, a fifth of them held out: 24 × 21 trainings × 8 epochs.
    assert f"**{24 * 21 * 8:,} photos**" in told
    assert "No SVM on explanations for this run yet" in text_of(show(PAGE, view="svm"))
    assert not at.warning and not at.error


def test_a_finished_training_is_shown(filled, asked):
    root, told, _ = filled
    at = show(PAGE)
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert titles == ["Accuracy after training again with core concepts", "How training went"]
    said = text_of(at)
    table = shown.summary(told)
    control = table[table["cc"] == "control"].iloc[0]
    assert f"from {told['original']['test']:.1%} to {control.test:.1%}" in said
    for one in shown.verdicts(told, table):
        assert f"{round(100 * one.gain, 1) + 0.0:+.1f}".replace("-", "−") in said
    for file in told["weights"].values():
        assert f"--model {file['spec']}" in said
    frame = next(d.value for d in at.dataframe if "best epoch" in d.value.columns)
    assert len(frame) == len(table) == 2 + 4
    assert frame["test (%)"].tolist() == pytest.approx((100 * table["test"]).tolist())
    assert shown.find_result(asked, root) == told["digest"]


def test_the_address_chooses_result_and_lambda(filled):
    _, told, _ = filled
    for wanted in ("", "0.5", "2"):
        at = show(PAGE, result=told["digest"][:6], **({"lambda": wanted} if wanted else {}))
        _, curves = at.get("vega_lite_chart")
        sent = (
            curves.proto.datasets[0].data.data if curves.proto.datasets else curves.proto.data.data
        )
        frame = pa.ipc.open_stream(sent).read_pandas()
        weights = set(frame["weight"][frame["cc"] != "control"])
        chosen = {float(wanted)} if wanted else set(told["chosen"].values())
        assert weights == chosen


def test_the_second_opinion_tells_which_rows_need_masks(filled):
    _, _, svm = filled
    at = show(PAGE, view="svm")
    table = shown.table_6(svm)
    without, masks = (d.value for d in at.dataframe)
    assert len(without) == (~table["needs_masks"]).sum()
    assert len(masks) == table["needs_masks"].sum()
    assert masks["judged by"].tolist()[0] == "masks alone"
    assert without["judged by"].tolist()[:3] == [
        "(most frequent scene)",
        "(network)",
        "hidden state",
    ]
    network = table[table["method"] == "network"].iloc[0]
    assert f"gets {network.accuracy:.1%} of the test photos right" in text_of(at)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"result": "zzz"}, "There is no training with concepts “zzz” here"),
        ({"view": "svm", "result": "zzz"}, "There is no SVM on explanations “zzz”"),
        ({"tried": "0.1, much"}, "Values of λ are numbers above 0"),
        ({"tried": "-1"}, "Values of λ are numbers above 0"),
    ],
)
def test_a_wrong_address_is_told(filled, address, words):
    at = show(PAGE, **address)
    assert any(words in box.value for box in at.warning), [box.value for box in at.warning]


def test_wrong_choices_in_the_address_fall_back(filled):
    at = show(PAGE, view="what", epochs="many", cc="nothing", form="round", beside="x", side="-3")
    assert not at.warning and "**21 trainings**" in text_of(at)


def test_published_predictions_cannot_be_trained(monkeypatch, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("pred,target\nden-s,den-s\nden-s,attic-s\n")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    import_predictions(table, name="published", root=tmp_path / "cache")
    at = show(PAGE)
    assert "there is nothing to train" in at.warning[0].value
    assert not at.button


def test_photos_that_are_gone_are_told(root, folder, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    moved = folder.with_name("elsewhere")
    folder.rename(moved)
    try:
        st.cache_data.clear()
        at = show(PAGE)
        assert any("cannot be opened" in box.value for box in at.info)
        assert not [b for b in at.button if b.label == "Start"]
    finally:
        moved.rename(folder)
        st.cache_data.clear()


# -- what it is told ------------------------------------------------------------------------


def row(gain, seeds, photos):
    return {
        "cc": "scc",
        "weight": 1.0,
        "chosen": True,
        "gain": gain,
        "gain_low": seeds[0],
        "gain_high": seeds[1],
        "image_low": photos[0],
        "image_high": photos[1],
    }


@pytest.mark.parametrize(
    ("seeds", "photos", "verdict"),
    [
        ((0.01, 0.03), (0.005, 0.04), "better"),
        ((0.01, 0.03), (-0.005, 0.04), "unsure"),
        ((-0.01, 0.03), (0.005, 0.04), "unsure"),
        ((-0.03, -0.01), (-0.04, -0.005), "worse"),
        ((0.0, 0.0), (0.0, 0.0), "unsure"),
        ((math.nan, math.nan), (0.005, 0.04), "one seed"),
    ],
)
def test_a_gain_counts_where_both_intervals_leave_0_out(seeds, photos, verdict):
    told = {"chosen": {"scc": 1.0}, "trainings": []}
    (got,) = shown.verdicts(told, pd.DataFrame([row(0.02, seeds, photos)]))
    assert got.verdict == verdict


def test_one_and_the_same_answer_is_seen():
    def one(kind, weight, predicted):
        return {"cc": kind, "weight": weight, "predicted": predicted}

    told = {
        "chosen": {"scc": 1.0, "icc": 0.1},
        "trainings": [
            one("control", 0.0, [3, 3, 3]),
            one("control", 0.0, [1, 1, 1]),
            one("scc", 1.0, [3, 3, 3]),
            one("scc", 1.0, [3, 2, 3]),
            one("icc", 0.1, [2, 2, 2]),
            one("icc", 1.0, [1, 2, 3]),
        ],
    }
    assert shown.same_answer(told) == ["control", "icc"]


def test_the_command_line_is_what_was_asked(asked, tmp_path):
    from core.cli.retrain import _asked, add

    arguments = shown.cc_arguments(asked, tmp_path)
    assert parsed(add, arguments, _asked) == asked
    trainings, images = shown.passes(asked, 30)
    work = plan_cc(asked)
    assert trainings == len(work.jobs) and images == len(work.jobs) * asked.epochs * 24


def parsed(add, arguments, then):
    import argparse

    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers()

    def verb(name, do, text):
        sub = verbs.add_parser(name, help=text)
        sub.set_defaults(verb=do)
        return sub

    add(verb)
    return then(parser.parse_args(arguments))


def test_the_cost_is_counted_and_timed(asked, tmp_path, full):
    told = cost_of(plan_cc(asked), tmp_path)
    _, made, _ = full
    assert {k: getattr(told, k) for k in ("train", "validation", "test")} == {
        k: made["counts"][k] for k in ("train", "validation", "test")
    }
    assert told.digest == made["digest"] and not told.finished
    assert told.passes == told.trainings * asked.epochs * told.train == 10 * 2 * 24
    assert 0 < told.low <= told.seconds <= told.high and told.timed == 3 * 8
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_plan_starts_nothing(asked, tmp_path, capsys):
    arguments = [*shown.cc_arguments(asked, tmp_path), "--plan"]
    assert main(arguments) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["digest"] == plan_cc(asked).digest and not list(tmp_path.glob("retrain-*"))


def test_jobs_and_heartbeats_are_brought_together(asked, tmp_path):
    arguments = shown.cc_arguments(asked, tmp_path)
    name = shown.job_name(arguments)
    (tmp_path / "jobs" / name).mkdir(parents=True)
    job = {
        "arguments": arguments,
        "progress": "",
        "started": time.time() - 60,
        "status": 130,
        "ended": time.time(),
    }
    (tmp_path / "jobs" / name / "job.json").write_text(json.dumps(job))
    for digest, command in (("a" * 16, asked.command()), ("b" * 16, "python -m core other")):
        partial = tmp_path / f"retrain-{digest}.partial"
        partial.mkdir()
        beat = {"stage": "train", "done": 5, "total": 10, "command": command, "time": time.time()}
        (partial / "progress.json").write_text(json.dumps(beat))
    mine, other = shown.at_work(tmp_path, "cc")
    assert mine.job.name == name and mine.state == "stopped"
    assert mine.run == f"retrain-{'a' * 16}" and mine.beat.done == 5
    assert other.job is None and other.run == f"retrain-{'b' * 16}"
    assert shown.at_work(tmp_path, "pe") == []


def test_a_failed_job_says_what_core_said(cache, folder):
    wrong = Retraining(f"folder:{folder}", "python:tests.tiny:nothing")
    job = shown.start(shown.cc_arguments(wrong, cache), cache)
    end = time.monotonic() + 60
    while job.alive and time.monotonic() < end:
        time.sleep(0.1)
        job = jobs.watch(job.name, cache)
    assert job.state == "failed" and "nothing" in job.error
    try:
        at = show(PAGE)
        assert job.error in [box.value for box in at.get("text")]
        assert [b for b in at.button if b.label == "Try again"]
        with pytest.raises(UnitscopeError, match="has no answer"):
            shown.finished_digest(job)
    finally:
        jobs.forget(job.name, cache)


def test_accuracies_have_wilsons_interval(full):
    _, told, _ = full
    frame = shown.figure_5([told]).set_index("method")
    n, p = told["counts"]["test"], told["original"]["test"]
    z = 1.959964
    roots = np.roots([1 + z * z / n, -(2 * p + z * z / n), p * p])
    assert sorted(roots) == pytest.approx(frame.loc["original", ["low", "high"]].tolist())


# -- in a browser ---------------------------------------------------------------------------


@pytest.mark.browser
def test_a_training_is_started_and_seen_to_finish(browser, root, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    for file in root.glob("*.*"):
        (cache / file.name).symlink_to(file)
    server = Server(cache)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Retrain?cc=top10&tried=1&seeds=1&epochs=1&batch=8")
        page.get_by_text("2 trainings").wait_for()
        page.get_by_role("button", name="Start", exact=True).click()
        page.get_by_text("Not finished yet").wait_for(timeout=WAIT)
        page.reload()  # it goes on without the page
        page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        page.get_by_role("link", name="Show what came out").click()
        page.wait_for_url("**result=*", timeout=WAIT)
        page.get_by_text("What it says").wait_for(timeout=WAIT)
        (result,) = cache.glob("retrain-*.json")
        assert f"result={json.loads(result.read_text())['digest']}" in page.url
        page.get_by_text("Trained once").wait_for()
        visit.settle()
        visit.check()
        page.close()
    finally:
        server.stop()


@pytest.mark.browser
def test_a_second_opinion_is_asked_for(browser, root, tmp_path):
    for file in root.glob("*.*"):
        (tmp_path / file.name).symlink_to(file)
    server = Server(tmp_path)
    try:
        visit = Visit(browser, server)
        visit.open("Retrain?view=svm&kinds=top10")
        visit.page.get_by_text("14 SVMs").wait_for(timeout=WAIT)
        visit.page.get_by_role("button", name="Start", exact=True).click()
        visit.page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        visit.page.get_by_role("link", name="Show what came out").click()
        visit.page.wait_for_url("**result=*", timeout=WAIT)
        visit.settle()
        visit.check()
        visit.page.close()
    finally:
        server.stop()
    (result,) = tmp_path.rglob("svm-*.json")
    assert json.loads(result.read_text())["digest"]


@pytest.mark.browser
@pytest.mark.slow
def test_a_training_is_stopped_and_gone_on_with(browser, folder, tmp_path):
    execute(
        plan(Settings(f"folder:{folder}", "python:tests.tiny:slow", q=0.05, shuffles=0)), tmp_path
    ).close()
    address = "Retrain?cc=top10&tried=1&seeds=1&epochs=4&batch=4"
    server = Server(tmp_path)
    try:
        visit = Visit(browser, server)
        visit.open(address)
        visit.page.get_by_role("button", name="Start", exact=True).click()
        visit.page.get_by_text("Training, forward and back").wait_for(timeout=WAIT)
        visit.page.get_by_role("button", name="Stop", exact=True).click()
        visit.page.get_by_text("Stopped.").wait_for(timeout=WAIT)
        visit.check()
    finally:
        server.stop()
    assert not list(tmp_path.glob("retrain-*.json"))
    (left,) = shown.at_work(tmp_path, "cc")
    assert left.state == "stopped" and left.run.startswith("retrain-") and left.beat.total
    server = Server(tmp_path)  # the server may be another one by then
    try:
        visit = Visit(browser, server)
        visit.open(address)
        visit.page.get_by_role("button", name="Resume").click()
        visit.page.get_by_text("Finished.", exact=True).wait_for(timeout=WAIT)
        visit.page.get_by_text("There is a result of just this").wait_for(timeout=WAIT)
        visit.check()
    finally:
        server.stop()
    assert len(list(tmp_path.glob("retrain-*.json"))) == 1
