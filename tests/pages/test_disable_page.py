"""The page Disable, its sets of units, and what it shows against the command line."""

from __future__ import annotations

import io
import itertools
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from core.ablation.contribution import UnitConcepts, contribution_scores
from core.ablation.edits import Edit
from core.cli import main
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.errors import UnitscopeError
from core.foundation.settings import CHOOSING, Settings
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
from tests.directions import planted as world
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


def planted_in(base: Path, spec: str, shuffles: int = 1) -> Path:
    """The folder of one run of tests/directions/planted.py, whose facts say which colour is whose:
    what its network rests on is known."""
    folder = world.write_folder(base / "photos")
    facts = base / "facts.tsv"
    homes = {"red": "attic", "green": "barn", "blue": "cellar"}
    facts.write_text("".join(f"AtLocation\t{a}\t{b}\n" for a, b in homes.items()))
    asked = Settings(
        f"folder:{folder}",
        spec,
        layers=("body.1", LAYER),
        q=0.03,
        shuffles=shuffles,
        knowledge=f"triples:{facts}",
    )
    execute(plan(asked), base / "cache", threads=1).close()
    return base / "cache"


@pytest.fixture(scope="module")
def planted_root(tmp_path_factory) -> Path:
    return planted_in(tmp_path_factory.mktemp("planted"), world.SPEC)


@pytest.fixture(scope="module")
def wide_root(tmp_path_factory) -> Path:
    return planted_in(tmp_path_factory.mktemp("wide"), world.WIDE, 49)


@pytest.fixture
def planted_run(planted_root, monkeypatch) -> Run:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(planted_root))
    return Run(resolve(None, planted_root))


def said(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def off_of(at) -> str:
    """The units in the page's address; AppTest gives what the page wrote as it was written."""
    value = at.query_params.get("off", "")
    return value if isinstance(value, str) else value[0]


def points(value: float) -> str:
    """A change as the page writes it, worked out anew."""
    rounded = round(100 * value, 1)
    return f"{'+' if rounded > 0 else '−' if rounded < 0 else ''}{abs(rounded):.1f}"


def bar_says(told: dict, shown: str) -> None:
    """The bar of the page has both headlines of a ``toggle --json``, and the photos."""
    *parts, every = told["headlines"]
    assert len(parts) == 2 and every["of"] == "all photos"
    for one in parts:
        before, after = one["accuracy_before"], one["accuracy_after"]
        gain = one["gain"]
        assert (
            f"<div>{one['of']} {100 * before['value']:.1f} → <b>{100 * after['value']:.1f} %</b>"
            in shown
        )
        assert f">{points(gain['value'])} points</span>" in shown
        assert f"[{points(gain['low'])}, {points(gain['high'])}]</small>" in shown
        assert f"n = {before['n']:,}</small>" in shown
    assert f">+{every['gain']['gained']}</span> newly correct" in shown
    assert f">−{every['gain']['lost']}</span> newly wrong" in shown


def test_the_page_says_what_the_command_line_says(run, capsys):
    for address, options in (
        ({"off": "3-5-7", "of": "attic"}, []),
        ({"off": "3-5-7", "of": "attic"}, ["--split", "test"]),
        ({"off": "3-5-7", "of": "attic", "split": "all"}, ["--split", "all"]),
        ({"off": "3-5-7", "of": "attic", "split": "train"}, ["--split", "train"]),
        ({"off": "0", "of": "barn", "split": "all"}, ["--split", "all"]),
        ({"off": "0-1", "of": "barn", "factor": "0.5"}, ["--factor", "0.5"]),
    ):
        at = show(PAGE, **address)
        units = address["off"].replace("-", ",")
        told = said(
            capsys,
            "toggle",
            run.digest,
            *("--out", str(run.path.parent), "--units", units, "--scene", address["of"]),
            *options,
        )
        shown = text_of(at)
        bar_says(told, shown)
        every = told["headlines"][-1]
        assert f"95 % interval {points2(every['gain']['low'])} to" in shown
        assert f"(n = {every['accuracy_before']['n']:,})" in shown
        assert "Computed exactly (closed form)" in shown
        assert f"judged on {told['judged']}" in at.expander[0].label
        # With --scene the answer itself is of its photos.
        assert told["accuracy_before"] == told["headlines"][0]["accuracy_before"]


def points2(value: float) -> str:
    text = f"{100 * value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


@pytest.mark.parametrize("sign", ["negative", "positive"])
@pytest.mark.parametrize("scene", ["attic", "barn"])
def test_the_same_request_without_options_has_one_answer(planted_run, capsys, scene, sign):
    """Scene, sign and one click, against the verb that is given no more than that."""
    told = said(
        capsys,
        "toggle",
        planted_run.digest,
        "--out",
        str(planted_run.path.parent),
        f"--top-{sign}",
        *(
            "--scene",
            scene,
        ),
    )
    assert 0 < len(told["units"]) <= CHOOSING.k
    at = show(PAGE, of=scene, sign=sign)
    (button,) = [b for b in at.button if b.proto.type == "primary"]
    assert button.label == f"Disable {len(told['units'])} unit{'s' * (len(told['units']) > 1)}"
    button.click().run()
    assert not at.exception
    assert off_of(at) == "-".join(map(str, sorted(told["units"])))
    bar_says(told, text_of(at))
    # Each says by which definitions, and both by the same.
    definitions = at.expander[0].label
    assert definitions.startswith("Definitions: ICC, Threshold")
    for word in ("IoU per image", "true predictions", "train photos", "test photos"):
        assert word in definitions
        assert word in told["chosen"] or word in told["judged"]
    # The command that the page offers says it once more.
    command = next(c.value for c in at.code if " toggle " in c.value).splitlines()[0]
    assert f"--top-{sign} {len(told['units'])} --scene {scene}" in command
    words = command.split()[3:]
    again = said(capsys, *words, "--out", str(planted_run.path.parent))
    differ = {"seconds": 0, "chosen": ""}
    assert {**again, **differ} == {**told, **differ}
    # What the answer must be is known: only its own colour's unit tells a scene.
    if sign == "positive":
        assert told["headlines"][0]["accuracy_after"]["value"] == 0
        assert told["headlines"][1]["gain"]["value"] == 0


def test_units_are_judged_on_photos_that_they_were_not_chosen_by(planted_run, capsys):
    place = ("--out", str(planted_run.path.parent), "--scene", "barn", "--over", "all")
    graph = open_knowledge(planted_run.info["request"]["knowledge"])
    core = all_core_concepts(planted_run, graph)["icc"]
    learned = UnitConcepts.of(planted_run, LAYER)
    splits = planted_run.sql("SELECT split FROM images ORDER BY image")["split"].to_numpy()
    train = np.flatnonzero(splits == "train")
    ranked = learned.contribution(core, "all", train).ranked("barn", "negative")
    told = said(capsys, "toggle", planted_run.digest, *place, "--top-negative", "3")
    assert told["units"] == ranked["unit"].head(3).tolist()
    assert told["judged"] == "test photos" and "train photos" in told["chosen"]
    assert (
        told["accuracy_before"]["n"]
        == ((splits == "test") & (scene_of(planted_run) == "barn")).sum()
    )
    every = learned.contribution(core, "all").ranked("barn", "negative")
    told = said(
        capsys, "toggle", planted_run.digest, *place, "--top-negative", "3", "--select", "all"
    )
    assert told["units"] == every["unit"].head(3).tolist()
    told = said(capsys, "contribution", planted_run.digest, *place)
    assert [r["unit"] for r in told["negative"]] == ranked["unit"].head(20).tolist()


def scene_of(run: Run) -> np.ndarray:
    frame = run.sql(
        "SELECT s.name FROM images LEFT JOIN scenes s USING (scene) ORDER BY images.image"
    )
    return frame["name"].to_numpy()


def test_an_inner_layer_is_replayed(run):
    at = show(PAGE, layer="body.1", off="0-3")
    assert "Computed (replayed tail)" in text_of(at)
    at = show(PAGE, layer="body.1", way="search")
    assert any("one linear layer" in box.value for box in at.info)


def test_units_of_a_scene_are_disabled_by_a_click_and_undone_by_another(run):
    graph = open_knowledge(run.info["request"]["knowledge"])
    core = all_core_concepts(run, graph)["scc"]
    ranked = contribution_scores(run, core, LAYER, over="all").ranked("barn", "negative")
    wanted = ranked["unit"].head(4).tolist()
    assert len(wanted) == 4
    at = show(PAGE, of="barn", cc="scc", k="4", over="all", select="all")
    (button,) = [b for b in at.button if b.label == f"Disable {len(wanted)} units"]
    button.click().run()
    assert not at.exception
    assert off_of(at) == "-".join(map(str, sorted(wanted)))
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Accuracy by scene, before (ring) and after (dot)" in titles
    assert "4 negative units of barn (SCC)" in text_of(at)
    (back,) = [b for b in at.button if b.label == "Undo"]
    back.click().run()
    assert not off_of(at)
    assert "No unit is disabled" in text_of(at)


def test_the_history_keeps_what_was_tried_with_its_accuracy(run):
    at = show(PAGE, of="barn", off="3-5", split="all")
    at.text_input(key="off-text").set_value("1").run()
    at.text_input(key="off-text").set_value("").run()
    frame = next(d.value for d in at.dataframe if "accuracy, scene" in d.value.columns)
    assert frame["units"].tolist() == [0, 1, 2]  # the last first
    ready = disable.prepare(run, LAYER)
    for units, row in zip(((), (1,), (3, 5)), frame.to_dict("records"), strict=True):
        barn, others, every = disable.toggled(ready, units, 0.0, []).headlines("barn")
        assert row["accuracy, scene"] == barn.after.value
        assert row["accuracy, all others"] == others.after.value
        assert (row["newly correct"], row["newly wrong"]) == (every.gain.gained, every.gain.lost)


def test_headlines_are_the_plain_counts(run):
    ready = disable.prepare(run, LAYER)
    reply = disable.toggled(ready, (0, 1, 2, 3, 4, 5), 0.0, ["test"])
    images = reply.images
    right = [
        [bool(p == t) for p, t in zip(of.predicted, images["target"], strict=True)]
        for of in (reply.before, reply.after)
    ]
    for one in reply.headlines("barn"):
        keep = [
            {"barn": s == "barn", "all others": s != "barn", "all photos": True}[one.of]
            for s in images["scene"]
        ]
        before, after = ([r for r, k in zip(side, keep, strict=True) if k] for side in right)
        assert (one.before.right, one.after.right) == (sum(before), sum(after))
        assert one.before.n == len(before)
        assert one.gain.gained == sum(a and not b for b, a in zip(before, after, strict=True))
    alone = reply.only("barn")
    assert alone.accuracy == (reply.headlines("barn")[0].before, reply.headlines("barn")[0].after)
    assert reply.headlines()[0].of == "all photos"
    with pytest.raises(UnitscopeError, match="no image is of scene"):
        reply.only("nowhere")


def test_a_search_finds_a_set(run):
    at = show(PAGE, way="search")
    (button,) = [b for b in at.button if b.label == "Search"]
    button.click().run()
    assert not at.exception
    ready = disable.prepare(run, LAYER)
    found = disable.greedy(ready, "", "", 20)
    assert off_of(at) == "-".join(map(str, sorted(found)))


def test_curves_are_in_points_on_one_scale_and_say_oracle_where_it_is_one(run):
    at = show(PAGE, view="curves", curves="icc-random", protocol="global")
    drawn = specs(at)
    assert [spec["title"]["text"] for spec in drawn] == [
        "Most positive units disabled (protocol: global)",
        "Most negative units disabled (protocol: global)",
    ]
    domains = [
        layer["encoding"]["y"]["scale"]["domain"]
        for spec in drawn
        for layer in spec["layer"]
        if layer["encoding"].get("y", {}).get("field") == "points"
    ]
    assert len(domains) == 4 and all(domain == domains[0] for domain in domains)
    for spec in drawn:
        assert "judged on test photos" in " ".join(spec["title"]["subtitle"])
    at = show(PAGE, view="curves", curves="icc-random")
    assert all("(oracle: by the true scene)" in s["title"]["text"] for s in specs(at))
    assert not specs(show(PAGE))


def test_curves_are_drawn_where_the_graph_knows_none_of_the_concepts(run):
    at = show(PAGE, view="curves", curves="icc-random", knowledge="builtin")
    assert len(specs(at)) == 2


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


def button(at, label: str):
    (found,) = [b for b in at.button if b.label == label]
    return found


def test_a_set_is_saved_loaded_and_deleted(run, owner):
    at = show(PAGE, off="1-2")
    at.text_input(key="set-name").set_value("mine").run()
    button(at, "Save").click().run()
    assert not at.exception and list_sets(run, LAYER)["units"].tolist() == [[1, 2]]
    at = show(PAGE, off="3")
    button(at, "Load").click().run()
    assert off_of(at) == "1-2"
    button(at, "Delete").click().run()
    assert list_sets(run, LAYER).empty


def test_two_sets_are_compared(planted_run):
    at = show(PAGE, view="compare", a="1-3-4", b="2", of="barn", split="all")
    compared = next(d.value for d in at.dataframe if "set" in d.value.columns)
    ready = disable.prepare(planted_run, LAYER)
    one, two = (disable.toggled(ready, u, 0.0, []) for u in ((1, 3, 4), (2,)))
    assert compared["accuracy"].tolist()[:2] == [one.accuracy[1].value, two.accuracy[1].value]
    gain = two.gain.value - one.gain.value
    assert compared["gain"].tolist()[2] == pytest.approx(gain)
    assert np.isnan(compared["accuracy"].tolist()[2])
    # Photo by photo, counted plainly.
    target = one.images["target"]
    alone = {"A": [], "B": []}
    for name, t, a, b in zip(
        one.images["id"], target, one.after.predicted, two.after.predicted, strict=True
    ):
        if t >= 0 and (a == t) != (b == t):
            alone["A" if a == t else "B"].append(name)
    found = disable.compared(one, two, ("A", "B"))
    assert found.first["id"].tolist() == alone["A"] and found.second["id"].tolist() == alone["B"]
    assert alone["A"] or alone["B"]
    shown = text_of(at)
    assert f"{len(alone['B'])} photos are correct with B alone, {len(alone['A'])} with A" in shown
    (spec,) = specs(at)
    assert spec["title"]["text"].startswith("Accuracy by scene")
    at = show(PAGE, view="compare", a="1-2", b="1-2", of="barn")
    assert any("same set" in box.value for box in at.info)
    at = show(PAGE, view="compare", a="1-99", of="barn")
    assert any("no unit 99" in box.value for box in at.warning)


def test_a_control_of_random_units_is_given_with_every_set(planted_run):
    ready = disable.prepare(planted_run, LAYER)
    found = {one.of: one for one in disable.control(planted_run, ready, 4, 0.0, ["test"], "barn")}
    gains = []
    for seed in range(20):
        units = np.random.default_rng(seed).choice(ready.units, 4, replace=False)
        gains.append(ready.toggle(Edit(tuple(units)), None, ["test"]).gain.value)
    assert found["all photos"].mean == pytest.approx(np.mean(gains))
    bounds = np.quantile(gains, [0.025, 0.975])
    assert [found["all photos"].low, found["all photos"].high] == pytest.approx(bounds)
    assert "Control: 4 units drawn at random (20 draws" in text_of(show(PAGE, off="0-1-2-3"))


def test_the_words_are_the_fields(run):
    """What people called it before they knew the paper's words is gone from both pages."""
    gone = (
        "see other things in it",
        "what a scene is made of",
        "Reckon",
        "Take it up",
        "Forget it",
        "taken for what",
        "Told by",
        "told from none",
        "answers are other ones",
        "first five",
        "on which images they part",
        "switched off",
        "reckon",
    )
    files = ["pages/5_Disable.py", "pages/7_Compare.py", "pages/parts/sets.py"]
    for file in (*files, "core/views/disable.py", "core/figures/disable.py"):
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not [words for words in gone if words in text], file


# -- in a browser ---------------------------------------------------------------------------


SIZES = {"laptop": (1366, 768), "phone": (390, 844)}


@pytest.mark.browser
@pytest.mark.parametrize("size", SIZES)
def test_the_commissioned_task_in_a_browser(browser, wide_root, capsys, tmp_path, size):
    """Find a scene's negative units, disable 20, see the shift without scrolling, undo, compare two
    sets, save the figure: in 8 clicks, each number the command line's. The seconds are told."""
    told = said(
        capsys,
        *("toggle", "latest", "--out", str(wide_root), "--top-negative", "--scene", "barn"),
    )
    assert len(told["units"]) == CHOOSING.k == 20
    server = Server(wide_root)
    clicks = 0

    def click(what, **how) -> None:
        nonlocal clicks
        what.click(**how)
        clicks += 1

    try:
        visit = Visit(browser, server)
        page = visit.page
        width, height = SIZES[size]
        page.set_viewport_size({"width": width, "height": height})
        visit.open("Disable")
        started = time.perf_counter()
        # 1, 2: the scene. Negative units, and k, are what the page opens on.
        click(page.get_by_label("Scene", exact=False).first)
        click(page.get_by_role("option", name="barn", exact=True))
        page.wait_for_url("**of=barn*")
        visit.settle()
        # 3: disable them.
        began = page.get_by_role("button", name="Disable 20 units")
        click(began)
        page.wait_for_url("**off=*")
        bar = page.locator(".shifts").first
        bar.get_by_text("newly correct").wait_for()
        seen_after = time.perf_counter() - started
        units = page.url.split("off=")[1].split("&")[0].split("-")
        assert sorted(map(int, units)) == sorted(told["units"])
        # In sight together, without scrolling.
        for seen in (began, bar, page.get_by_role("button", name="Undo")):
            box = seen.bounding_box()
            assert box["y"] >= 0 and box["y"] + box["height"] <= height, box
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, box
        text = bar.inner_text().replace("\n", " ")
        for one in told["headlines"][:2]:
            assert f"{100 * one['accuracy_after']['value']:.1f} %" in text
            assert f"{points(one['gain']['value'])} points" in text
        # The bar stays in sight wherever one scrolls to.
        page.mouse.move(width - 60, height / 2)
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(400)
        box = bar.bounding_box()
        assert box["y"] >= 0 and box["y"] + box["height"] <= height
        assert bar.is_visible()
        # 4: undo, from the bar where one is.
        click(page.get_by_role("button", name="Undo"))
        page.wait_for_function("!location.search.includes('off=')")
        visit.settle()
        page.get_by_text("No unit disabled").first.wait_for()
        # 5: compare two sets, the negative and the positive units.
        click(page.get_by_text("Compare two sets", exact=True))
        page.wait_for_url("**view=compare*")
        visit.settle()
        page.get_by_text("photos are correct with B alone").wait_for()
        # 6, 7: save the figure.
        click(page.get_by_role("button", name="Save").first)
        with page.expect_download() as got:
            click(page.get_by_role("button", name="SVG", exact=True).last)
        got.value.save_as(tmp_path / "figure.svg")
        seconds = time.perf_counter() - started
        svg = (tmp_path / "figure.svg").read_text()
        assert svg.startswith("<svg") and "barn" in svg and "n = " in svg
        assert clicks <= 8
        with capsys.disabled():
            print(
                f"\n{size}: {clicks} clicks, {seconds:.1f} s; the shift was seen after "
                f"{seen_after:.1f} s"
            )
        visit.check()
        page.close()
    finally:
        server.stop()


@pytest.mark.browser
def test_titles_are_wrapped_and_the_map_keeps_its_names_apart(browser, wide_root):
    """On a phone no title is cut; on every screen the map fills its frame, and no two of its names
    overlap as they are drawn."""
    server = Server(wide_root)
    try:
        for width in (390, 800, 1440):
            visit = Visit(browser, server, width=width)
            page = visit.page
            for path in ("Disable?view=compare", "Disable?view=scores", "Units?view=map"):
                visit.open(path)
                page.locator(".chart-title").first.wait_for()
                for title in page.locator(".chart-title").all():
                    box = title.bounding_box()
                    assert box["x"] >= 0 and box["x"] + box["width"] <= width
                    assert title.evaluate("e => e.scrollWidth <= e.clientWidth")
                assert page.evaluate("document.documentElement.scrollWidth") <= width
            frame = page.locator('[data-testid="stVegaLiteChart"]').bounding_box()
            drawn = page.locator('[data-testid="stVegaLiteChart"] svg.marks')
            dots = drawn.locator('path[aria-roledescription="circle"]').all()
            boxes = [dot.bounding_box() for dot in dots]
            left = min(box["x"] + box["width"] / 2 for box in boxes)
            right = max(box["x"] + box["width"] / 2 for box in boxes)
            assert right - left >= 0.85 * frame["width"]
            shown = drawn.evaluate(
                """svg => [...svg.querySelectorAll("text")]
                    .filter(t => +getComputedStyle(t).opacity && +(t.getAttribute("opacity") ?? 1)
                        && t.closest("g.mark-text") && !t.closest("g.role-legend"))
                    .map(t => { const b = t.getBoundingClientRect();
                                return [t.textContent, b.left, b.top, b.right, b.bottom]; })"""
            )
            names = {tuple(one) for one in shown}  # each has a halo in the same place
            assert names
            for one, two in itertools.combinations(names, 2):
                assert (
                    one[3] <= two[1] or two[3] <= one[1] or one[4] <= two[2] or two[4] <= one[2]
                ), (one, two)
            visit.check()
            page.close()
    finally:
        server.stop()
