"""Who may change what: three modes, one gate, tried on real servers with and without the token."""

from __future__ import annotations

import argparse
import ast
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.ablation.images import dataset_photos
from core.dissect.plan import plan
from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.settings import Configuration, Settings
from core.foundation.trust import ALLOW
from core.runs.kept import keep_apart, kept, place
from core.runs.notes import Marks, Thing
from core.runs.run_file import Run
from core.runs.store import list_runs
from core.runs.unit_sets import save_set
from core.views.retrain import material
from pages.parts import access, changes, serve
from tests import tiny
from tests.browsing import ROOT, SERVE, Server, Visit
from tests.pages.showing import show, text_of

WAIT = 60_000
STOPPED = "0123456789abcdef"


@pytest.fixture
def cache(tiny_run, tmp_path, monkeypatch) -> Path:
    """A finished run, and the work of a stopped one."""
    root = tmp_path / "cache"
    root.mkdir()
    shutil.copy(tiny_run.path, root)
    shutil.copytree(tiny_run.arrays, root / tiny_run.arrays.name)
    (root / f"{STOPPED}.partial").mkdir()
    told = {
        "run": STOPPED,
        "stage": "collect",
        "done": 3,
        "total": 9,
        "time": 1.0,
        "dataset": "folder:x",
        "model": "rooms",
        "layers": ["layer4"],
    }
    (root / f"{STOPPED}.partial" / "progress.json").write_text(json.dumps(told))
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return root


@pytest.fixture
def served():
    """Serves as told, within this process."""
    yield access.serve_as
    access.serve_as(access.Serving())


# -- one gate -----------------------------------------------------------------------------------

CHANGE = {
    "start_run",
    "start_check",
    "discard",
    "cancel",
    "forget",
    "delete_run",
    "save_set",
    "delete_set",
    "keep_names",
    "name_run",
    "pin_run",
    "mark",
    "save_filter",
    "delete_filter",
    "keep_zip",
    "keep_files",
}
"""Functions of the engine that change something, by the names pages would call them by."""


def test_pages_change_things_through_one_module():
    for file in [ROOT / "app.py", *(ROOT / "pages").rglob("*.py")]:
        if file.name == "changes.py":
            continue
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core"):
                assert not CHANGE & {alias.name for alias in node.names}, file.name
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                assert node.func.attr not in CHANGE or called.startswith("changes."), called
                assert called not in ("jobs.start", "retrain.start", "starting.start"), called


def test_every_change_asks_first():
    """Each public function of the module passes the gate before it does anything."""
    tree = ast.parse((ROOT / "pages" / "parts" / "changes.py").read_text(encoding="utf-8"))
    checked = 0
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith(("_", "check_")):
            called = [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]
            assert called.count("require_owner") == 1, node.name
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize("mode", access.MODES)
def test_nobody_changes_anything_without_standing(cache, tiny_run, served, mode):
    served(access.Serving(mode, access.new_token() if mode == "owner" else "", frozenset({"a@b"})))
    run = list_runs(cache)[0]
    before = sorted(str(p) for p in cache.rglob("*"))
    for change in (
        lambda: changes.delete(run),
        lambda: changes.discard(STOPPED, cache),
        lambda: changes.start_run(["run", "--dataset", "rooms", "--model", "rooms"], "a", cache),
        lambda: changes.start_check(["run", "--dataset", "rooms", "--model", "rooms"], cache),
        lambda: changes.start_training(["retrain", "cc"], cache),
        lambda: changes.start_measuring(["reliance", "a"], cache),
        lambda: changes.stop("a", cache),
        lambda: changes.dismiss("a", cache),
        lambda: changes.save_set(tiny_run, "body.3", "mine", [1]),
        lambda: changes.delete_set(tiny_run, "body.3", "mine"),
        lambda: changes.keep_names(tiny_run, None, b"name,node\n"),
        lambda: changes.name_run(run, "mine"),
        lambda: changes.pin_run(run),
        lambda: changes.mark(tiny_run, Thing("003"), Marks(("odd",))),
        lambda: changes.save_filter(tiny_run, "Scenes", "mine", {"scene": "barn"}),
        lambda: changes.delete_filter(tiny_run, "Scenes", "mine"),
        lambda: changes.drop_zip("mine.zip", b""),
        lambda: changes.drop_files({"a": b""}),
        lambda: changes.delete_dropped("a"),
    ):
        with pytest.raises(UnitscopeError, match=r"owner|read-only|started this server"):
            change()
    assert sorted(str(p) for p in cache.rglob("*")) == before


def test_changes_are_logged(cache, owner):
    changes.discard(STOPPED, cache)
    changes.delete(list_runs(cache)[0])
    lines = [json.loads(line) for line in (cache / access.LOG).read_text().splitlines()]
    assert [(line["who"], line["what"]) for line in lines] == [
        ("owner", "discard unfinished work"),
        ("owner", "delete run"),
    ]
    assert lines[0]["run"] == STOPPED
    assert lines[0]["time"].endswith("Z")


# -- what a form may name -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dataset", "folder:{out}/photos"], "not below the folders"),
        (["--dataset", "folder:{root}/../out"], "not below the folders"),
        (["--dataset", "folder:{root}/link/photos"], "not below the folders"),
        (["--dataset", "folder:~"], "not below the folders"),
        (["--model", "torchvision:resnet18:{out}/w.pt"], "not below the folders"),
        (["--model=torchvision:resnet18:{out}/w.pt"], "not below the folders"),
        (["--model", "places365:resnet18:{root}/w.pt:{out}/names.txt"], "not below"),
        (["--know", "triples:/etc/passwd"], "not below the folders"),
        (["--scenes", "{out}/scenes.csv"], "not below the folders"),
        (["--dataset", "folder:docs"], "not below the folders"),
        (["--layer", "--model", "--layer", "python:os:system:x", "--model", "rooms"], ""),
        (["--model", "python:os:system:x"], "--allow-python"),
        (["--layer", "--model", "python:os:system:x"], "--allow-python"),
    ],
)
def test_forms_name_files_below_the_roots_and_no_code(
    served, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.delenv(ALLOW, raising=False)
    root, out = tmp_path / "root", tmp_path / "out"
    for folder in (root, out):
        folder.mkdir()
    (root / "link").symlink_to(out)
    served(access.Serving("team", owners=frozenset({"a@b"}), roots=(root.resolve(),)))
    filled = [one.format(root=root, out=out) for one in arguments]
    if not said:
        changes.check_named_files(filled)
        return
    with pytest.raises(UnitscopeError, match=said):
        changes.check_named_files(filled)


def test_what_lies_below_the_roots_is_named_freely(served, tmp_path):
    served(access.Serving("team", roots=(tmp_path.resolve(),)))
    changes.check_named_files(
        [
            "run",
            "--dataset",
            f"coco:{tmp_path}/coco:stuff",
            "--model",
            f"places365:resnet18:{tmp_path}/w.pt:{tmp_path}/names.txt",
            "--knowledge",
            "builtin",
            "--scenes",
            f"{tmp_path}/scenes.csv",
            "--layer",
            "layer4",
            "--out",
            "/elsewhere",
        ]
    )
    changes.check_named_files(["run", "--dataset", "rooms", "--model", "torchvision:resnet18"])


def test_photos_of_a_run_are_read_below_the_roots_alone(served, tiny_run, tmp_path):
    """A stranger's run may name any folder; switching units off reads its photos again."""
    served(access.Serving("read-only", roots=(tmp_path.resolve(),)))
    with pytest.raises(UnitscopeError, match=r"run .* is not below the folders"):
        material(tiny_run)
    with pytest.raises(UnitscopeError, match="--roots"):  # and the stored JPEGs stand in
        dataset_photos(tiny_run, Preprocessing(resize=(32, 28), center_crop=24))
    folder = Path(tiny_run.info["settings"]["dataset"]["spec"].partition(":")[2])
    served(access.Serving("read-only", roots=(folder.parent.resolve(),)))
    assert material(tiny_run).splits
    assert (
        dataset_photos(tiny_run, Preprocessing(resize=(32, 28), center_crop=24))(
            np.array([0])
        ).shape[0]
        == 1
    )
    served(access.Serving("read-only", roots=()))  # none were given: as before
    assert material(tiny_run).splits


# -- how a server is started --------------------------------------------------------------------


def given(**options) -> argparse.Namespace:
    plain = {"mode": None, "owners": None, "roots": None, "allow_python": None}
    return argparse.Namespace(**plain | options)


@pytest.mark.parametrize(
    ("options", "said", "address", "mode"),
    [
        ({}, {}, "localhost", "owner"),
        ({}, {}, "127.0.0.1", "owner"),
        ({}, {}, "0.0.0.0", "read-only"),
        ({}, {}, None, "read-only"),
        ({}, {"mode": "read-only"}, "localhost", "read-only"),
        ({"mode": "owner"}, {"mode": "read-only"}, "0.0.0.0", "owner"),
        ({"owners": ["Ada@example.org"]}, {"mode": "team"}, "0.0.0.0", "team"),
    ],
)
def test_the_mode_follows_from_what_is_said_and_who_can_reach_it(options, said, address, mode):
    found = serve.settled(given(**options), Configuration(**said), address)
    assert found.mode == mode
    assert bool(found.token) == (mode == "owner")
    # Any file by the owner of a machine; none but the embedded ones in a team that names no roots.
    assert found.roots == (None if mode == "owner" else ())
    assert found.owners == ({"ada@example.org"} if mode == "team" else set())
    assert (
        serve.settled(given(**options), Configuration(**said), address).token != found.token
        or not found.token
    )


@pytest.mark.parametrize(
    ("options", "said", "message"),
    [
        ({}, {"mode": "ownr"}, "nearest: owner"),
        ({"mode": "team"}, {}, "a team has owners"),
        ({"owners": ["a@b"]}, {}, "owners are of the mode team"),
        ({"roots": [Path("/no/such")]}, {}, "there is no folder"),
    ],
)
def test_what_cannot_be_served_is_told(options, said, message):
    with pytest.raises(UnitscopeError, match=message):
        serve.settled(given(**options), Configuration(**said), "localhost")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--server.prt", "1"], "No such option"),
        (["stray"], "belongs to no option"),
        (["--mode", "team"], "a team has owners"),
    ],
)
def test_a_mistake_on_the_command_line_starts_nothing(options, message, capsys):
    assert serve.main(options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ({"is_logged_in": True, "email": "ada@example.org", "email_verified": True}, "ada"),
        ({"is_logged_in": True, "email": "ADA@example.org"}, "ada"),
        ({"is_logged_in": True, "email": "ada@example.org", "email_verified": False}, ""),
        ({"is_logged_in": True, "email": "ada@example.org", "email_verified": "false"}, ""),
        ({"is_logged_in": False, "email": "ada@example.org"}, ""),
        ({"is_logged_in": "no", "email": "ada@example.org"}, ""),
        ({"is_logged_in": True, "email": "eve@example.org"}, ""),
        ({"is_logged_in": True, "email": None}, ""),
        ({}, ""),
    ],
)
def test_owners_of_a_team(user, name):
    found = access.team_owner(user, frozenset({"ada@example.org"}))
    assert found.partition("@")[0] == name


# -- pages without standing ---------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["read-only", "owner"])
def test_pages_of_a_visitor_change_nothing(cache, served, mode):
    served(access.Serving(mode, "token" if mode == "owner" else ""))
    runs = show("pages/9_Runs.py")
    assert {b.label for b in runs.button} == {"Run the query"}  # which only reads
    assert "Stopped" in text_of(runs)  # seen, not touched
    assert "started here by owners alone" in text_of(runs)
    disable = show("pages/5_Disable.py", off="1-2")
    labels = [b.label for b in disable.button]
    assert "Enable all" in labels and "Save" not in labels
    assert "2 units disabled" in text_of(disable)  # what units do is shown to everybody
    retrain = show("pages/6_Retrain.py")
    assert not [b.label for b in retrain.button]


def all_below(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of every file and folder below `root`, and of itself."""
    stats = {str(p): p.stat() for p in [root, *root.rglob("*")]}
    return {path: (found.st_size, found.st_mtime_ns) for path, found in stats.items()}


def test_a_read_only_server_writes_nothing(cache, served, monkeypatch, tmp_path):
    """It kept what it worked out beside the runs, and made a lock file to list sets."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("core.runs.kept._own", [])
    run = Run(list_runs(cache)[0])
    save_set(run, "body.3", "mine", [1, 2])
    run.close()
    (cache / "named-sets.db.lock").unlink(missing_ok=True)
    before = all_below(cache)
    served(access.Serving("read-only"))
    for page, asked in (
        ("app.py", {}),
        ("pages/1_Scenes.py", {"scene": "attic"}),
        ("pages/1_Scenes.py", {"view": "matrix"}),
        ("pages/2_Units.py", {}),
        ("pages/2_Units.py", {"unit": "3"}),
        ("pages/2_Units.py", {"view": "map"}),
        ("pages/3_Concepts.py", {"concept": "thing 1"}),
        ("pages/3_Concepts.py", {"view": "core"}),
        ("pages/4_Explain.py", {"image": "000"}),
        ("pages/5_Disable.py", {"off": "1-2"}),
        ("pages/6_Retrain.py", {}),
        ("pages/7_Compare.py", {}),
        ("pages/9_Runs.py", {}),
    ):
        shown = show(page, **asked)
        assert not shown.exception, (page, shown.exception)
        assert all_below(cache) == before, page
    apart = [p.name for p in tmp_path.glob("unitscope-*/*/*")]
    assert any(name.startswith("map-") for name in apart), apart
    assert any(name.startswith("signatures-") for name in apart), apart


def test_what_is_kept_apart_is_a_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "runs").mkdir()
    beside = tmp_path / "runs" / "a.csv"
    beside.write_text("old")
    assert place(beside) == beside
    keep_apart(True)
    own = place(beside)
    assert own != beside and own.read_text() == "old"
    own.write_text("new")
    assert place(beside).read_text() == "new" and beside.read_text() == "old"
    assert {p.read_text() for p in kept(tmp_path / "runs", "*.csv")} == {"old", "new"}
    assert place(tmp_path / "none" / "b").parent.is_dir() and not (tmp_path / "none").exists()


def test_an_address_that_is_too_long_is_cut(cache):
    page = show("pages/2_Units.py", name="x" * 100_000, unit="3")
    assert not page.exception
    assert "Unit 3" in page.title[0].value
    assert "read without name" in page.warning[0].value
    assert "x" * 100 not in text_of(page)


@pytest.mark.parametrize("number", ["²", "--5", "٣", "9" * 3900, "1e9", "-", "3,3"])
def test_what_looks_like_a_number_is_a_sentence(cache, number):
    """`?unit=²` and `?page=--5` were tracebacks: their letters are digits, `int` refuses them."""
    unit = show("pages/2_Units.py", unit=number)
    assert "Unit" in unit.title[0].value
    assert show("pages/1_Scenes.py", scene="attic", image=number).title
    off = show("pages/5_Disable.py", off=number, k=number)
    assert off.title
    assert show("pages/3_Concepts.py", view="groups", k=number).title


# -- real servers -------------------------------------------------------------------------------


def answer(server: Server, path: str, **headers: str) -> int:
    request = urllib.request.Request(f"http://{server.host}/{path}", headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as err:
        return err.code


@pytest.mark.browser
def test_without_the_token_nothing_is_changed_and_with_it_all(browser, cache):
    server = Server(cache)
    try:
        assert len(server.token) >= 40
        port = server.host.rpartition(":")[2]
        assert answer(server, "_stcore/metrics") == 404
        assert answer(server, "_stcore/metrics", Cookie=f"unitscope-{port}={server.token}") == 200
        assert answer(server, "_stcore/metrics", Cookie=f"unitscope-{port}=x") == 404
        assert answer(server, "Runs?token=wrong") == 403

        anonymous = Visit(browser, server, owner=False)
        anonymous.open("Runs")
        anonymous.page.get_by_text("Read-only").first.wait_for()
        anonymous.page.get_by_text("Stopped").first.wait_for()
        for name in ("Discard", "Delete this run", "Check", "Start", "Resume", "Stop"):
            assert anonymous.page.get_by_role("button", name=name).count() == 0, name
        anonymous.check()
        anonymous.page.close()
        assert (cache / f"{STOPPED}.partial").is_dir()
        assert not (cache / access.LOG).exists()

        visit = Visit(browser, server)
        visit.open("Runs?definition=all")
        assert visit.page.url.endswith("/Runs?definition=all")
        page = visit.page
        page.get_by_role("button", name="Discard …").click()
        page.get_by_role("button", name="Discard", exact=True).click()
        page.get_by_text("Running", exact=True).wait_for(state="detached", timeout=WAIT)
        assert not (cache / f"{STOPPED}.partial").exists()
        # The cookie holds for another page and a reload.
        visit.open("Runs")
        page.get_by_role("button", name="Delete this run…").click()
        page.get_by_role("button", name="Delete", exact=True).click()
        page.get_by_text("None yet.").wait_for(timeout=WAIT)
        assert not list_runs(cache)
        page.close()
        log = (cache / access.LOG).read_text()
        assert "discard" in log and "delete run" in log and server.token not in log
    finally:
        server.stop()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        (*SERVE, "--mode", "read-only"),
        (*SERVE, "--server.address", "0.0.0.0"),
        ("streamlit", "run", "app.py", "--server.headless", "true"),
    ],
)
def test_servers_that_make_no_token_are_read_only(browser, cache, options):
    server = Server(cache, *options)
    try:
        assert not server.token
        assert answer(server, "_stcore/health") == 200
        assert answer(server, "_stcore/metrics") == 404  # plain Streamlit showed them to all
        visit = Visit(browser, server)
        visit.open("Runs")
        visit.page.get_by_text("this server is read-only").first.wait_for()
        assert visit.page.get_by_role("button", name="Discard").count() == 0
        visit.open("Disable?off=1-2")
        visit.page.get_by_text("Sets are saved by owners alone").wait_for()
        assert "2 units disabled" in visit.page.locator(".shifts").inner_text()
        assert not visit.wrong
        visit.page.close()
    finally:
        server.stop()


@pytest.mark.browser
@pytest.mark.slow
def test_an_owner_starts_and_stops_a_run(browser, cache, tmp_path):
    """A visitor beside sees the run, and cannot stop it."""
    photos = tiny.write_folder(tmp_path / "photos", 192)
    digest = plan(Settings(f"folder:{photos}", "python:tests.tiny:slower")).digest
    server = Server(cache)
    try:
        visit, other = Visit(browser, server), Visit(browser, server, owner=False)
        form = f"data=folder%3A{photos}&net=python%3Atests.tiny%3Aslower"
        visit.open(f"Runs?{form}")
        visit.page.get_by_role("button", name="Check").click()
        visit.page.get_by_role("button", name="Start").click(timeout=2 * WAIT)
        visit.page.get_by_role("button", name="Stop", exact=True).wait_for(timeout=WAIT)
        other.open(f"Runs?{form}")
        other.page.get_by_text("Step 1 of 3").wait_for(timeout=WAIT)
        assert other.page.get_by_role("button", name="Stop").count() == 0
        assert other.page.get_by_role("button", name="Check").count() == 0
        visit.page.get_by_role("button", name="Stop", exact=True).click()
        visit.page.get_by_text("Stopped.").first.wait_for(timeout=WAIT)
        end = time.monotonic() + WAIT / 1000
        while jobs.watch(digest, cache).alive and time.monotonic() < end:
            time.sleep(0.1)
        assert jobs.watch(digest, cache).state == "stopped"
        said = [json.loads(line)["what"] for line in (cache / access.LOG).open()]
        assert said == ["check a run", "start run", "stop job"]
        visit.page.close()
        other.page.close()
    finally:
        server.stop()


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ("photos_an_hour = 0", "This server explains 0 photos an hour"),
        ("uploads = 0", "429"),
        ("photo_mb = 1", "File must be 1"),
    ],
)
def test_photos_are_bounded_and_not_kept(browser, cache, tmp_path, limit, said):
    config = tmp_path / "unitscope.toml"
    config.write_text(f'mode = "read-only"\n[limits]\n{limit}\n')
    photo = tmp_path / "photo.bmp"
    Image.new("RGB", (900, 700)).save(photo)  # 1.9 MB
    server = Server(cache, UNITSCOPE_CONFIG=str(config))
    try:
        visit = Visit(browser, server)
        visit.open("Explain?view=own")
        before = sorted(str(p) for p in cache.rglob("*"))
        visit.page.locator('input[type="file"]').set_input_files(photo)
        visit.page.get_by_text(said).first.wait_for(timeout=WAIT)
        assert sorted(str(p) for p in cache.rglob("*")) == before
        visit.page.close()
    finally:
        server.stop()
