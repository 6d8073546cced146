"""Photos that a run loses: counted as photos, said with the reason, and asked for where many."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from core.cli import main
from core.datasets.base import Problem
from core.dissect.losses import TooManyLost, counted, losses
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation import jobs
from core.foundation.settings import Settings
from core.runs.run_file import Run
from core.views import work
from core.views.runs import summary
from tests import tiny
from tests.pages.showing import show, text_of


@pytest.fixture
def folder(tmp_path):
    """21 photos; 17 masks hold a value that labels.csv does not explain, two files are strange."""
    root = tiny.write_folder(tmp_path / "photos", 21)
    for k in range(17):
        mask = np.full((32, 40), 77, np.uint8)
        Image.fromarray(mask).save(root / "masks" / f"{k:03}.png")
    (root / "masks" / "of nobody.png").write_bytes(b"x")
    (root / "masks" / "notes.txt").write_text("x")
    return root


def settings(root, **more) -> Settings:
    return Settings(f"folder:{root}", tiny.SPEC, ("body.3",), q=0.05, shuffles=1, **more)


def asked(root, out) -> list[str]:
    return [
        *("run", "--dataset", f"folder:{root}", "--model", tiny.SPEC, "--layer", "body.3"),
        *("--q", "0.05", "--shuffles", "1", "--out", str(out)),
    ]


def test_photos_are_counted_and_not_notices():
    problems = [
        Problem("a", "a.png", "torn"),
        Problem("a", "a.json", "empty"),
        Problem("b", "b.json", "one shape is left out"),  # b is used all the same
        Problem("", "notes.txt", "strange"),
        Problem("c", "c.png", "torn"),
    ]
    found = counted(problems, 7, {"b", "d"})
    assert (found.used, found.lost, found.notices) == (7, 2, 5)
    assert found.reasons == (("torn", 2),) and found.share == 2 / 9
    assert found.words == "7 of 9 photos used: torn (2)"
    assert counted([], 3, set()).words == ""


def test_a_run_that_loses_most_of_its_photos_stops_and_asks(folder, tmp_path, capsys):
    out = tmp_path / "runs"
    assert main(asked(folder, out)) == 2
    told = capsys.readouterr().err
    assert "only 4 of 21 photos used: " in told and "77" in told and "(17)" in told
    assert "--allow-loss" in told and not list(out.glob("*.duckdb"))


def test_what_was_allowed_is_made_and_says_what_it_lost(folder, tmp_path, capsys, monkeypatch):
    out = tmp_path / "runs"
    assert main([*asked(folder, out), "--allow-loss", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["skipped"], told["images"]["used"]) == (17, 4) and told["notices"] >= 19
    assert main(["show", told["run"], "--out", str(out)]) == 0
    assert "WARNING    4 of 21 photos used: " in capsys.readouterr().out
    with Run(out / f"{told['run']}.duckdb") as run:
        facts = summary(run)
        assert facts.skipped == losses(run).lost == 17 and facts.losses.startswith("4 of 21 photos")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(out))
    for page in ("app.py", "pages/9_Runs.py"):
        said = text_of(show(page, run=told["run"]))
        assert f":orange[:material/warning:] {facts.losses}." in said, page
    assert "17 lost" in text_of(show("app.py"))


def test_the_stopped_run_is_resumed(folder, tmp_path):
    asked = plan(settings(folder))
    with pytest.raises(TooManyLost):
        execute(asked, tmp_path / "runs")
    partial = tmp_path / "runs" / f"{asked.digest}.partial"
    before = {file: file.stat().st_mtime_ns for file in partial.glob("photos-*.bin")}
    assert before
    seen = []
    execute(replace(asked, allow_loss=True), tmp_path / "runs", progress=seen.append).close()
    assert "collect" not in {beat.stage for beat in seen if beat.done and beat.done < beat.total}


def test_few_lost_photos_are_no_question(folder, tmp_path):
    for k in range(16):
        mask = np.ones((32, 40), np.uint8)
        Image.fromarray(mask).save(folder / "masks" / f"{k:03}.png")
    with execute(plan(settings(folder)), tmp_path / "runs") as run:
        assert losses(run).lost == 1 and losses(run).words.startswith("20 of 21 photos used: ")


def test_with_a_choice_of_splits_only_its_photos_count(folder, tmp_path):
    asked = plan(settings(folder, splits=("test",)))
    with execute(replace(asked, allow_loss=True), tmp_path / "runs") as run:
        lost = [k for k in range(17) if k % 2 == 0]
        assert (losses(run).used, losses(run).lost) == (11 - len(lost), len(lost))


@pytest.mark.slow
def test_the_form_asks_before_it_goes_on(folder, tmp_path, monkeypatch, owner):
    root = tmp_path / "runs"
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    address = {"data": f"folder:{folder}", "net": tiny.SPEC, "dissect": "body.3"}
    request = {"dataset": address["data"], "model": tiny.SPEC, "layers": ["body.3"]}
    arguments = work.arguments(request, root)
    digest = plan(Settings(**{**request, "layers": ("body.3",)})).digest
    checked = work.start_check(arguments, root).name
    until(lambda: jobs.watch(checked, root).state == "finished")
    work.start_run(arguments, digest, root)
    until(lambda: jobs.watch(digest, root).state == "failed")
    assert "--allow-loss" in jobs.watch(digest, root).error
    at = show("pages/9_Runs.py", **address)
    assert start(at).disabled
    next(one for one in at.toggle if "Go on with" in one.label).set_value(True).run()
    assert not start(at).disabled
    start(at).click().run()
    until(lambda: jobs.watch(digest, root).state == "finished")
    assert "Finished:** 4 of 21 photos used" in text_of(show("pages/9_Runs.py"))


def start(at):
    return next(button for button in at.button if button.label == "Start")


def until(so) -> None:
    end = time.monotonic() + 120
    while not so():
        assert time.monotonic() < end
        time.sleep(0.2)
