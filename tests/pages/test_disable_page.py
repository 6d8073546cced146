"""The page Disable, its sets of units, and what it shows against the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from core.ablation.contribution import contribution_scores
from core.cli import main
from core.foundation.errors import UnitscopeError
from core.knowledge.kinds import open_knowledge
from core.models.load import load_model
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from core.runs.store import find_run, list_runs
from core.runs.unit_sets import FILE, delete_set, list_sets, save_set
from core.views import disable
from core.views.runs import resolve
from tests import tiny
from tests.browsing import ROOT, Server, Visit
from tests.pages.showing import show, specs, text_of
from tests.two_runs import make_knowing

LAYER = "body.3"
PAGE = "pages/5_Disable.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return make_knowing(tmp_path_factory.mktemp("off"), shuffles=1)


@pytest.fixture
def run(root, monkeypatch) -> Run:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return Run(resolve(None, root))


def said(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def off_of(at) -> str:
    """The units in the page's address; AppTest gives what the page wrote as it was written."""
    value = at.query_params.get("off", "")
    return value if isinstance(value, str) else value[0]


def test_the_page_says_what_the_command_line_says(run, capsys):
    for address, options in (
        ({"off": "3-5-7"}, ["--split", "test"]),
        ({"off": "3-5-7", "split": "all"}, []),
        ({"off": "3-5-7", "split": "train"}, ["--split", "train"]),
        ({"off": "0", "scene": "barn", "split": "all"}, ["--scene", "barn"]),
        ({"off": "0-1", "factor": "0.5", "split": "all"}, ["--factor", "0.5"]),
    ):
        at = show(PAGE, **address)
        units = address["off"].replace("-", ",")
        told = said(
            capsys, "toggle", run.digest, "--out", str(run.path.parent), "--units", units, *options
        )
        shown = text_of(at)
        after, gain = told["accuracy_after"], told["gain"]
        assert f"(n = {after['n']:,}) {after['value']:.2%}" in shown
        assert f"photos gained, lost +{gain['gained']} −{gain['lost']}" in shown
        assert f"{100 * gain['low']:+.2f} to {100 * gain['high']:+.2f}" in shown
        assert "closed form" in shown


def test_an_inner_layer_is_replayed(run):
    at = show(PAGE, layer="body.1", off="0-3")
    assert "replayed tail" in text_of(at)
    at = show(PAGE, layer="body.1", way="search")
    assert any("one linear layer" in box.value for box in at.info)


def test_units_of_a_scene_are_switched_off_by_a_click(run):
    graph = open_knowledge(run.info["request"]["knowledge"])
    core = all_core_concepts(run, graph)["scc"]
    ranked = contribution_scores(run, core, LAYER, over="all").ranked("barn", "negative")
    wanted = ranked["unit"].head(4).tolist()
    assert len(wanted) == 4
    at = show(PAGE, of="barn", cc="scc", k="4", over="all")
    (button,) = [b for b in at.button if b.label == f"Switch off the {len(wanted)} units"]
    button.click().run()
    assert not at.exception
    assert off_of(at) == "-".join(map(str, sorted(wanted)))
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "What it does to each scene" in titles
    (back,) = [b for b in at.button if b.label == "Undo"]
    back.click().run()
    assert not off_of(at)
    assert "Every unit is on" in text_of(at)


def test_a_search_finds_a_set(run):
    at = show(PAGE, way="search")
    (button,) = [b for b in at.button if b.label == "Search"]
    button.click().run()
    assert not at.exception
    ready = disable.prepare(run, LAYER)
    found = disable.greedy(ready, "", "", 20)
    assert off_of(at) == "-".join(map(str, sorted(found)))


def test_curves_are_drawn_when_asked_for(run):
    at = show(PAGE, curves="icc-random", drawn="1", protocol="global")
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Accuracy without the most positive units" in titles
    assert any("protocol global" in " ".join(spec["title"]["subtitle"]) for spec in specs(at))
    at = show(PAGE)
    assert not [s for s in specs(at) if "disabled" in s["title"]["text"]]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ({"off": "3-99"}, "There is no unit 99: the layer has units 0 to 11"),
        ({"off": "three"}, "'three' is no unit"),
        ({"layer": "body.9"}, "Unknown layer"),
    ],
)
def test_a_wrong_address_is_told(run, address, words):
    at = show(PAGE, **address)
    assert any(words in box.value for box in at.warning), [box.value for box in at.warning]


def test_the_edited_network_is_taken_away(run, tmp_path):
    ready = disable.prepare(run, LAYER)
    with zipfile.ZipFile(io.BytesIO(disable.edited_network(ready, (1, 4), 0.0, "by hand"))) as z:
        z.extractall(tmp_path)
    texts = list(tmp_path.glob("*.txt"))
    assert len(texts) == 1 and "by hand" in texts[0].read_text()
    (state,) = [p for p in tmp_path.glob("*.pt") if "folded" not in p.name]
    edited = load_model(f"python:core.ablation.export:load:{state}")
    inputs = torch.rand(2, 3, 20, 24)
    own = load_model(tiny.SPEC).module
    body = own.body(inputs)
    body[:, [1, 4]] = 0
    wanted = own.head(body.mean((2, 3)))
    assert torch.allclose(edited.module(inputs), wanted, atol=1e-6)


# -- named sets -----------------------------------------------------------------------------


def test_sets_are_kept_by_run_and_layer(run):
    assert list_sets(run, LAYER).empty
    save_set(run, LAYER, "  two   units ", [5, 2, 2], "by hand")
    save_set(run, LAYER, "one", [0])
    save_set(run, "body.1", "one", [7])
    kept = list_sets(run, LAYER)
    assert kept["name"].tolist() == ["one", "two units"]
    assert kept["units"].tolist() == [[0], [2, 5]] and kept["why"].tolist() == ["", "by hand"]
    save_set(run, LAYER, "one", [3])
    assert list_sets(run, LAYER)["units"].tolist()[0] == [3]
    delete_set(run, LAYER, "one")
    assert list_sets(run, LAYER)["name"].tolist() == ["two units"]
    assert list_sets(run, "body.1")["units"].tolist() == [[7]]
    # The file beside the runs is none of them.
    assert [p.stem for p in list_runs(run.path.parent)] == [run.digest]
    assert find_run("latest", run.path.parent) == run.path
    for name, units, words in (
        (" ", [1], "needs a name"),
        ("x" * 81, [1], "needs a name"),
        ("a", [], "no unit in"),
        ("a", [12], "units 0 to 11"),
    ):
        with pytest.raises(UnitscopeError, match=words):
            save_set(run, LAYER, name, units)
    with pytest.raises(UnitscopeError, match="unknown set of units 'two unit'; nearest: two units"):
        delete_set(run, LAYER, "two unit")
    for layer in (LAYER, "body.1"):
        for name in list_sets(run, layer)["name"]:
            delete_set(run, layer, name)


def test_several_sessions_keep_sets_at_once(run):
    code = (
        "import sys; from pathlib import Path; from core.runs.run_file import Run; "
        "from core.runs.unit_sets import save_set; run = Run(Path(sys.argv[1])); "
        "[save_set(run, sys.argv[2], f'set {k}', [k % 12]) "
        "for k in range(int(sys.argv[3]), int(sys.argv[3]) + 8)]"
    )
    parts = [
        subprocess.Popen([sys.executable, "-c", code, str(run.path), LAYER, str(8 * k)], cwd=ROOT)
        for k in range(2)
    ]
    assert [part.wait(120) for part in parts] == [0, 0]
    assert len(list_sets(run, LAYER)) == 16
    (run.path.parent / FILE).unlink()


def test_a_set_is_kept_taken_up_and_compared_on_the_page(run, owner):
    at = show(PAGE, off="1-2")
    at.text_input(key="set-name").set_value("mine").run()
    (keep,) = [b for b in at.button if b.label == "Keep"]
    keep.click().run()
    assert not at.exception and list_sets(run, LAYER)["units"].tolist() == [[1, 2]]
    at = show(PAGE, off="3")
    compared = next(d.value for d in at.dataframe if "set" in d.value.columns)
    ready = disable.prepare(run, LAYER)
    one, two = (disable.toggled(ready, u, 0.0, "", "") for u in ((1, 2), (3,)))
    assert compared["accuracy"].tolist()[:2] == [one.accuracy[1].value, two.accuracy[1].value]
    gain = two.gain.value - one.gain.value
    assert compared["gain"].tolist()[2] == pytest.approx(gain)
    assert np.isnan(compared["accuracy"].tolist()[2])
    (take,) = [b for b in at.button if b.label == "Take it up"]
    take.click().run()
    assert off_of(at) == "1-2"
    (forget,) = [b for b in at.button if b.label == "Forget it"]
    forget.click().run()
    assert list_sets(run, LAYER).empty


# -- in a browser ---------------------------------------------------------------------------


@pytest.mark.browser
def test_the_most_negative_units_of_a_scene_in_a_browser(browser, root, run, capsys):
    """Switch off those of a scene by a click; the number on screen is the command line's."""
    server = Server(root)
    try:
        visit = Visit(browser, server)
        page = visit.page
        visit.open("Disable?of=barn&cc=scc&over=all&split=test&k=3")
        page.get_by_role("button", name="Switch off the").click()
        page.wait_for_url("**off=*")
        visit.settle()
        graph = open_knowledge(run.info["request"]["knowledge"])
        core = all_core_concepts(run, graph)["scc"]
        ranked = contribution_scores(run, core, LAYER, over="all").ranked("barn", "negative")
        units = page.url.split("off=")[1].split("&")[0].replace("-", ",")
        assert sorted(map(int, units.split(","))) == sorted(ranked["unit"].head(3))
        told = said(
            capsys, "toggle", run.digest, "--out", str(root), "--units", units, "--split", "test"
        )
        after = page.get_by_text(f"{told['accuracy_after']['value']:.2%}", exact=True).first
        assert after.is_visible()
        page.reload()
        visit.settle()
        assert after.is_visible()
        visit.check()
        page.close()
    finally:
        server.stop()
