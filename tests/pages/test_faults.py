"""What breaks, and what people bring that is broken: one sentence each, and the rest works on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import altair as alt
import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.ablation.toggler import prepare
from core.cli import main
from core.dissect.counts import count_images
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.signatures import signatures
from core.downloads.unpack import unpack
from core.figures import converter
from core.figures.export import export, latex
from core.foundation import jobs
from core.foundation.errors import BadFile, Damaged, UnitscopeError
from core.foundation.escape import csv_frame, latex_text
from core.foundation.files import strict_json, write_text
from core.foundation.names import printable
from core.foundation.settings import Settings
from core.merging.embed import read_embedding
from core.runs.arrays import array_header, check_ids, read_arrays
from core.runs.run_file import Run
from core.runs.store import delete_run
from core.views.runs import try_summary
from core.views.work import unfinished
from pages.parts import cache
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
ESC = "bed\x1b]0;owned\x07\x9b2J"


@pytest.fixture
def copy(tiny_run, tmp_path) -> Path:
    """A run file of one's own, with its arrays, to be broken."""
    path = tmp_path / "cache" / tiny_run.path.name
    path.parent.mkdir()
    shutil.copy(tiny_run.path, path)
    shutil.copytree(tiny_run.arrays, path.with_suffix(".arrays"))
    return path


def said(capsys) -> str:
    """What a failed verb printed: a sentence, no traceback."""
    err = capsys.readouterr().err
    last = err.splitlines()[-1]
    assert "Traceback" not in err and last.startswith("error: "), err
    return err


# -- arrays and tables of strangers ---------------------------------------------------------------


def edit_array(name: str, change: Callable[[np.ndarray], np.ndarray | None]):
    def edit(path: Path) -> None:
        file = path.with_suffix(".arrays") / name
        array = np.load(file)
        changed = change(array)
        np.save(file, array if changed is None else changed)

    return edit


def cut(name: str):
    def edit(path: Path) -> None:
        file = path.with_suffix(".arrays") / name
        os.truncate(file, file.stat().st_size // 2)

    return edit


def beyond(array: np.ndarray) -> None:
    array[:] = 60_000


BROKEN_ARRAYS = {
    "ids beyond the table": (edit_array("labels.npy", beyond), "labels", "concept 60000"),
    "too few images": (edit_array("labels.npy", lambda a: a[:5]), "labels", "this run's 'labels'"),
    "another type": (edit_array("labels.npy", lambda a: a.astype(np.int64)), "labels", "int64"),
    "cut short": (cut("labels.npy"), "labels", "cut short"),
    "gone": (lambda p: (p.with_suffix(".arrays") / "labels.npy").unlink(), "labels", "missing"),
    "no array": (
        lambda p: (p.with_suffix(".arrays") / "labels.npy").write_bytes(b"hello"),
        "labels",
        "no array file",
    ),
    "maps of another layer": (
        edit_array("maps-body.3.npy", lambda a: a[:, :3]),
        "maps-body.3",
        "is damaged or of another run",
    ),
    "objects": (
        lambda p: np.save(
            p.with_suffix(".arrays") / "labels.npy", np.array([{}], object), allow_pickle=True
        ),
        "labels",
        "object",
    ),
}


@pytest.mark.parametrize("broken", BROKEN_ARRAYS)
def test_no_kernel_gets_an_array_that_was_not_checked(copy, broken):
    """Ids beyond the table made numba write outside its arrays and killed the process."""
    edit, name, message = BROKEN_ARRAYS[broken]
    edit(copy)
    with Run(copy) as run:
        with pytest.raises(
            Damaged if broken != "ids beyond the table" else UnitscopeError, match=message
        ):
            signatures(run, "body.3")
        if name == "labels":
            with pytest.raises(Damaged, match=message):
                run.label_maps(0)


HEADERS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (3,",
    "{[]: 1}",
    "{'descr': ('<f4',), 'fortran_order': False, 'shape': (3,)}",
    f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30},)}}",
    "-" * 9000 + "1",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda text: text[:20])
def test_headers_that_numpy_stumbles_over_are_told(tmp_path, header):
    """TokenError, TypeError, IndexError, OverflowError and MemoryError, of one flipped bit."""
    file = tmp_path / "a.npy"
    size = struct.pack("<H", len(header))
    file.write_bytes(b"\x93NUMPY\x01\0" + size + header.encode() + bytes(64))
    with pytest.raises(Damaged, match=r"is no array file|is cut short"):
        array_header(file)
    assert read_arrays(file) is None
    with pytest.raises(UnitscopeError, match="is no embedding"):
        read_embedding(file)


def test_kernels_refuse_ids_beyond_their_tables():
    maps = np.ones((1, 1, 2, 2), np.float32)
    labels = np.full((1, 1, 4, 4), 9, np.uint16)
    fine = (maps, np.zeros(1, np.float32))
    with pytest.raises(UnitscopeError, match="concept 9, and there are 2"):
        count_images(*fine, labels, np.array([0]), 1, 2)
    with pytest.raises(UnitscopeError, match="concept 9, and there are 2"):
        check_ids(labels, 2)
    with pytest.raises(UnitscopeError, match="channel categories"):
        count_images(*fine, labels * 0, np.array([3]), 1, 2)
    with pytest.raises(UnitscopeError, match="2 thresholds for 1 units"):
        count_images(maps, np.zeros(2, np.float32), labels * 0, np.array([0]), 1, 2)


def test_what_was_kept_for_speed_is_made_again_where_it_is_damaged(copy):
    """A stranger's .derived folder is checked as well: its numbers are places in arrays."""
    with Run(copy) as run:
        right = signatures(run, "body.3")
        (kept,) = copy.with_suffix(".derived").glob("signatures-*.npz")
        arrays = read_arrays(kept)
        for name, value in (("which", 10**6), ("labels", 50_000), ("starts", -1)):
            wrong = dict(arrays)
            wrong[name] = np.full_like(arrays[name], value)
            with kept.open("wb") as f:
                np.savez_compressed(f, **wrong)
            np.testing.assert_array_equal(
                signatures(run, "body.3").unit_concept(), right.unit_concept()
            )
        for junk in (b"", b"PK\x03\x04junk", kept.read_bytes()[:100]):
            kept.write_bytes(junk)
            np.testing.assert_array_equal(signatures(run, "body.3").active, right.active)
        layer = prepare(run, "body.1")  # replayed: its unedited logits are kept beside the run
        first = layer.logits()
        (kept,) = copy.with_suffix(".derived").glob("replayed-*.npy")
        kept.write_bytes(kept.read_bytes()[:-7])
        np.testing.assert_array_equal(prepare(run, "body.1").logits(), first)


BROKEN_TABLES = {
    "DROP TABLE units": "table 'units' is missing",
    "ALTER TABLE images DROP COLUMN split": "table 'images' has no column 'split'",
    "UPDATE images SET image = image + 100000": "column 'image' of table 'images'",
    "UPDATE images SET predicted = 7777": "column 'predicted'",
    "UPDATE images SET scene = -4": "column 'scene'",
    "UPDATE scenes SET class = 50": "column 'class'",
    "UPDATE concepts SET concept = concept * 3": "column 'concept'",
    "UPDATE units SET unit = 5": "units",
    "DELETE FROM meta": "no 'images'",
    "UPDATE meta SET value = '[]' WHERE key = 'images'": "no whole run file",
    "UPDATE layers SET units = 999999999": "units",
}


@pytest.mark.parametrize("change", BROKEN_TABLES)
def test_one_broken_run_file_is_one_line_of_the_list(copy, change, capsys):
    good = copy.with_name("0123456789abcdef.duckdb")
    shutil.copy(copy, good)
    with duckdb.connect(str(copy)) as con:
        con.execute(change)
    with pytest.raises(Damaged, match=BROKEN_TABLES[change]):
        Run(copy)
    assert main(["runs", "--json", "--out", str(copy.parent)]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert rows[good.stem]["state"] == "finished"
    assert BROKEN_TABLES[change] in rows[copy.stem]["why"]
    assert main(["show", copy.stem, "--out", str(copy.parent)]) == 2
    assert BROKEN_TABLES[change] in said(capsys)


def test_a_flipped_block_is_told(copy, capsys):
    data = bytearray(copy.read_bytes())
    for at in range(12_288 + 64, len(data), 4096):
        data[at] ^= 0xFF
    copy.write_bytes(data)
    assert main(["runs", "--out", str(copy.parent)]) == 0
    assert "unreadable" in capsys.readouterr().out
    assert main(["show", copy.stem, "--out", str(copy.parent)]) == 2
    said(capsys)


def test_photos_that_are_none_are_not_shown(copy):
    with duckdb.connect(str(copy)) as con:
        con.execute("UPDATE images SET photo_bytes = 1000000000 WHERE image = 1")
        con.execute("UPDATE images SET photo_at = -5 WHERE image = 2")
    photos = copy.with_suffix(".arrays") / "photos.bin"
    data = bytearray(photos.read_bytes())
    data[:11] = b"%!PS-Adobe\n"
    photos.write_bytes(data)
    with Run(copy) as run:
        for image, message in ((0, "is no JPEG"), (1, "too short"), (2, "too short")):
            with pytest.raises(Damaged, match=message):
                run.photo(image)
        assert run.photo(3).startswith(b"\xff\xd8")


# -- pages ----------------------------------------------------------------------------------------


def show(page: str, cache: Path, monkeypatch, **address: str) -> AppTest:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(cache))
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in address.items():
        at.query_params[key] = value
    return at.run() if page == "app.py" else at.run().switch_page(page).run()


@pytest.mark.parametrize(
    "page",
    ["app.py", "pages/1_Scenes.py", "pages/2_Units.py", "pages/4_Explain.py", "pages/5_Disable.py"],
)
def test_missing_arrays_are_a_sentence_on_every_page(copy, page, monkeypatch):
    shutil.rmtree(copy.with_suffix(".arrays"))
    address = {"app.py": {}, "pages/4_Explain.py": {"image": "000"}}.get(page, {"unit": "3"})
    at = show(page, copy.parent, monkeypatch, run=copy.stem, **address)
    assert not at.exception, at.exception[0].message


def test_a_hundred_broken_files_are_looked_at_once(copy, monkeypatch):
    for k in range(100):
        copy.with_name(f"{k:016x}.duckdb").write_bytes(b"no database" * k)
    looked: list[Path] = []
    real = try_summary
    monkeypatch.setattr(cache, "try_summary", lambda p: looked.append(p) or real(p))
    at = show("pages/9_Runs.py", copy.parent, monkeypatch)
    assert not at.exception
    assert any("100 files cannot be read" in m.value for m in at.markdown)
    before = len(looked)
    assert before == 101
    at.run()
    assert len(looked) == before
    assert not at.exception


def test_a_job_file_of_another_shape_is_one_failed_job(tmp_path, monkeypatch, copy, capsys):
    shapes = [
        "[]",
        "{}",
        "null",
        "[" * 100_000,
        '{"arguments": [1], "started": 3}',
        "\x00",
        '{"arguments": ["run"], "started": "yesterday"}',
        '{"arguments": 3, "started": 0}',
        '{"arguments": ["run"], "started": 0, "progress": "../../etc/passwd"}',
        '{"arguments": ["run"], "started": 1e999}',
    ]
    for k, text in enumerate(shapes):
        folder = copy.parent / "jobs" / f"job{k}"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(text)
    found = jobs.every(copy.parent)
    assert [job.state for job in found] == ["failed"] * len(shapes)
    assert all("is damaged" in job.error for job in found)
    for page in ("pages/9_Runs.py", "pages/6_Retrain.py"):
        at = show(page, copy.parent, monkeypatch)
        assert not at.exception, at.exception[0].message
    for job in found:
        jobs.forget(job.name, copy.parent)
    assert not jobs.every(copy.parent)


def test_progress_files_of_another_shape_are_passed_over(copy, capsys):
    for k, text in enumerate(["[1]", "{", '{"done": "many", "total": 3}', "[" * 100_000]):
        folder = copy.parent / f"{k:016x}.partial"
        folder.mkdir()
        (folder / "progress.json").write_text(text)
    assert main(["runs", "--json", "--out", str(copy.parent)]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [row["state"] for row in rows] == ["finished"] + ["unfinished"] * 4


# -- kills, deletions, clocks ---------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path) -> tuple[Settings, Path, Run]:
    folder = tiny.write_folder(tmp_path / "tiny", 40)
    settings = Settings(f"folder:{folder}", tiny.SPEC, q=0.05, shuffles=1)
    return settings, tmp_path / "cache", execute(plan(settings), tmp_path / "cache")


def leave_partial(run: Run) -> Path:
    """What a process leaves that is killed while it removes the private folder of a whole run."""
    left = run.path.with_suffix(".partial")
    left.mkdir()
    (left / "published").write_text("whole: only renaming is left\n")
    (left / "progress.json").write_text('{"stage": "publish", "done": 1, "total": 1}')
    return left


def test_a_run_deleted_after_a_kill_in_its_clean_up_is_made_again(finished, capsys):
    settings, root, run = finished
    left = leave_partial(run)
    assert main(["runs", "--json", "--out", str(root)]) == 0
    rows = json.loads(capsys.readouterr().out)["runs"]
    assert [row["state"] for row in rows] == ["finished"]
    assert unfinished(root) == []
    run.close()
    delete_run(run.path)
    assert not left.exists()
    again = execute(plan(settings), root)
    assert again.info["tables_digest"]
    # And where only the file was removed, by hand: the mark speaks of nothing.
    leave_partial(again)
    again.path.unlink()
    third = execute(plan(settings), root)
    assert third.info["tables_digest"] == again.info["tables_digest"]


def test_what_is_left_of_a_whole_run_is_removed_by_the_next_command(finished):
    settings, root, run = finished
    left = leave_partial(run)
    assert execute(plan(settings), root).digest == run.digest
    assert not left.exists()


def test_a_run_that_is_being_made_is_not_deleted(finished):
    from core.runs.store import making

    _, _, run = finished
    lock = making(run.path)
    with pytest.raises(UnitscopeError, match="being made by another process"):
        delete_run(run.path)
    lock.release()
    assert run.path.exists()


def put_job(root: Path, name: str, **facts: object) -> Path:
    folder = root / "jobs" / name
    folder.mkdir(parents=True)
    write_text(folder / "job.json", json.dumps({"arguments": ["run", "--json"], **facts}))
    return folder


def test_a_job_whose_keeper_was_killed_is_known_by_its_answer(tmp_path):
    """The keeper alone wrote the end down; the work may well have come to its own."""
    gone = {"keeper": 2**22 - 3, "keeper_born": "x:1", "child": 2**22 - 2, "child_born": "x:2"}
    folder = put_job(tmp_path, "done", started=time.time(), **gone)
    (folder / "out").write_text('run 1\n{"run": "0123"}\n')
    assert jobs.watch("done", tmp_path).state == "finished"
    assert jobs.watch("done", tmp_path).answer() == {"run": "0123"}
    for name, out in (("half", '{"run": "01'), ("none", ""), ("wrong", '{"error": "no"}')):
        folder = put_job(tmp_path, name, started=time.time(), **gone)
        (folder / "out").write_text(out)
        assert jobs.watch(name, tmp_path).state == "stopped"


@pytest.mark.slow
def test_a_job_goes_on_when_its_keeper_is_killed_and_ends_as_finished(tmp_path):
    job = jobs.start("list", ["datasets", "--json"], tmp_path)
    end = time.monotonic() + 60
    while job.alive and time.monotonic() < end:
        facts = json.loads((job.folder / "job.json").read_text())
        if facts.get("child") and facts.get("keeper"):
            os.kill(facts["keeper"], signal.SIGKILL)
            break
        time.sleep(0.01)
    while (job := jobs.watch("list", tmp_path)).alive and time.monotonic() < end:
        time.sleep(0.1)
    assert job.state == "finished", job
    assert job.answer()["kinds"]


def test_a_job_from_the_future_is_not_starting_for_ever(tmp_path):
    put_job(tmp_path, "later", started=time.time() + 86_400)
    assert jobs.watch("later", tmp_path).state == "failed"
    jobs.forget("later", tmp_path)


# -- the command line -----------------------------------------------------------------------------


def test_every_failure_is_a_sentence(tiny_run, tmp_path, capsys, monkeypatch):
    out = ["--out", str(tiny_run.path.parent)]
    a_file = tmp_path / "file"
    a_file.write_text("x")
    run = ["run", "--dataset", "rooms", "--model", "rooms"]
    for arguments, message in (
        ([*run, "--out", str(a_file)], str(a_file)),
        (["report", "latest", *out, "--to", str(tmp_path)], "is a folder"),
        ([*run, "--device", "meta"], "cannot compute here"),
        (["toggle", "latest", *out, "--units", "0-99999999"], "more than 100,000 numbers"),
        (["show", str(a_file)], "is no run"),
    ):
        assert main(arguments) == 2, arguments
        assert message in said(capsys), arguments
    for arguments in (
        [*run, "--seed", "-1"],
        [*run, "--shuffles", "999999999"],
        [*run, "--q", "nan"],
        [*run, "--threads", "0"],
        ["toggle", "latest", *out, "--units", "1", "--factor", "inf"],
        ["cluster", "latest", *out, "--k", "-3"],
    ):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert "out of range" in capsys.readouterr().err, arguments

    def raising(error: BaseException):
        def verb(_given):
            raise error

        return verb

    from core.cli import datasets

    for error, message, status in (
        (OSError(28, "No space left on device", "/big"), "No space left on device: /big", 2),
        (MemoryError(), "memory does not suffice", 2),
        (duckdb.OutOfMemoryException("could not allocate block"), "could not allocate", 2),
        (duckdb.IOException("disk says no"), "disk says no", 2),
        (KeyboardInterrupt(), "stopped", 130),
        (ValueError("what?\x1b[2J"), r"unforeseen ValueError: what?\x1b[2J", 3),
    ):
        monkeypatch.setattr(datasets, "_kinds", raising(error))
        assert main(["datasets"]) == status
        assert message in said(capsys)
        assert main(["datasets", "--json"]) == status
        assert message.split(": ")[0] in json.loads(capsys.readouterr().out)["error"]


FACTORIES = """
import sys
def raises(): raise RuntimeError("no weights\\nhere")
def exits(): sys.exit("bye")
def nothing(): return None
def three(): return 1, 2, 3
def numbers():
    from tests.tiny import net
    module, info = net()
    return module, {**info, "classes": [1, 2, 3]}
def strange():
    from tests.tiny import net
    return net()[0], [1]
"""


def test_factories_that_raise_exit_or_give_something_else(tmp_path, monkeypatch, capsys):
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(tmp_path)
    for name, message in (
        ("raises", "raised RuntimeError: no weights"),
        ("exits", "raised SystemExit: bye"),
        ("nothing", "NoneType, not a torch.nn.Module"),
        ("three", "tuple, not a"),
        ("strange", "list, not a dict"),
    ):
        assert main(["layers", "--model", f"python:factories:{name}"]) == 2
        assert message in said(capsys)
    assert main(["layers", "--model", "python:factories:numbers", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["classes"] == 3


def test_a_device_is_written_to_and_never_replaced(tmp_path, capsys):
    """`report --to /dev/full` renamed a file over the device."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
    write_text(pipe, "hello")
    assert reader.communicate()[0] == b"hello"
    assert pipe.is_fifo()
    if Path("/dev/full").is_char_device():
        with pytest.raises(UnitscopeError, match="No space left on device"):
            write_text(Path("/dev/full"), "x" * 100_000)
        assert Path("/dev/full").is_char_device()
    target = tmp_path / "real.txt"
    target.write_text("old")
    (tmp_path / "link.txt").symlink_to(target)
    write_text(tmp_path / "link.txt", "new")
    assert target.read_text() == "new" and (tmp_path / "link.txt").is_symlink()
    with pytest.raises(UnitscopeError, match="cannot write"):
        write_text(tmp_path / "nowhere" / "x", "y")


def test_ctrl_c_that_a_package_makes_an_import_error_of_is_a_sentence(monkeypatch, capsys):
    """As compiled packages do, in the midst of their own import."""

    def imported(_words):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("Encountered an error while initializing the extension.") from None

    monkeypatch.setattr("core.cli.check_words", imported)
    assert main(["datasets"]) == 130
    assert capsys.readouterr().err.startswith("error: stopped; nothing was changed")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_before_the_work_is_a_sentence(tmp_path):
    """Sent while packages are imported or the dataset is opened."""
    folder = tiny.write_folder(tmp_path / "tiny", 20)
    for wait in (0.3, 1.5, 3.0):
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "core",
                "run",
                "--dataset",
                f"folder:{folder}",
                "--model",
                "python:tests.tiny:slow",
                "--out",
                str(tmp_path / "cache"),
            ],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        time.sleep(wait)
        child.send_signal(signal.SIGINT)
        err = child.communicate(timeout=120)[1]
        assert "Traceback" not in err, err
        # −2: where the interrupt passed through some exec(), Python itself ends by the signal.
        assert child.returncode in (0, 130, -2), (child.returncode, err)


def test_a_zip_member_without_a_name(tmp_path):
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ab.txt", "x" * 10)
    # The same file, its only member's name cut to nothing in both headers.
    data = archive.read_bytes().replace(b"ab.txt", b"")
    for sign, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        place = data.index(sign) + at
        data = data[:place] + b"\0\0" + data[place + 2 :]
    end = data.index(b"PK\x05\x06")
    start = data.index(b"PK\x01\x02")
    data = data[: end + 12] + struct.pack("<LL", end - start, start) + data[end + 20 :]
    archive.write_bytes(data)
    with pytest.raises(BadFile, match="without a name"):
        unpack(archive, tmp_path / "out")


# -- text on its way out --------------------------------------------------------------------------


def test_no_escape_sequence_reaches_a_terminal_a_file_or_the_converter(capsys):
    assert printable(ESC) == "bed\\x1b]0;owned\\x07\\x9b2J"
    assert printable("\u202egnp.exe\ud800 ok\n\t") == "\\u202egnp.exe\\ud800 ok\n\t"
    text = strict_json({"name": ESC + "\ud800"})
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\ud800"}
    assert json.loads(text) == {"name": ESC + "\ud800"}
    frame = pd.DataFrame({"name": [ESC, "=1+1", "@SUM(A1)", "-4", "+x"], "n": [1.5, -2, 0, 3, 4]})
    assert csv_frame(frame).splitlines() == [
        "name,n",
        "bed\\x1b]0;owned\\x07\\x9b2J,1.5",
        "'=1+1,-2.0",
        "'@SUM(A1),0.0",
        "-4,3.0",
        "'+x,4.0",
    ]
    assert "\n" not in latex_text("a\n\\end{tabular}\x1b")
    table = latex(pd.DataFrame({"x": ["a\nb"]}), "one\n\\input{/etc/passwd}")
    assert table.splitlines()[0] == "% one \\input{/etc/passwd}"
    assert "a b \\\\" in table


def test_a_chart_with_control_characters_is_drawn(tmp_path):
    chart = alt.Chart(pd.DataFrame({"x": [ESC, "b"], "n": [1, 2]})).mark_bar().encode(x="x", y="n")
    svg = export(chart, "svg").decode()
    assert "bed\\x1b]0;owned" in svg and "\x1b" not in svg
    assert export(chart, "png").startswith(b"\x89PNG")
    assert export(chart, "pdf").startswith(b"%PDF")


def test_the_converter_may_die_without_taking_the_app_along():
    """vl-convert ends its process at a raw escape character; here it is killed as well."""
    rows = [{"x": "a\x1bb", "n": 1}]
    axes = {"x": {"field": "x"}, "y": {"field": "n", "type": "quantitative"}}
    spec = {"mark": "bar", "data": {"values": rows}, "encoding": axes}
    try:
        converter.convert(spec, "svg")
    except converter.ConversionError as err:
        assert str(err)
    process = converter._worker._process
    if process is not None:
        process.kill()
        process.wait()
    rows[0]["x"] = "a"
    assert converter.convert(spec, "svg").startswith(b"<svg")
    with pytest.raises(converter.ConversionError):
        converter.convert({"mark": 3}, "svg")
    assert converter.convert(spec, "svg").startswith(b"<svg")


def test_names_with_escape_sequences_in_a_run_file(copy, capsys, tmp_path):
    with duckdb.connect(str(copy)) as con:
        con.execute("UPDATE concepts SET name = ? WHERE concept = 1", [ESC])
        con.execute("UPDATE scenes SET name = ? WHERE scene = 1", ["=cmd()\x1b[2J"])
    out = ["--out", str(copy.parent)]
    for arguments in (
        ["show", copy.stem, *out],
        ["show", copy.stem, *out, "--json"],
        ["contribution", copy.stem, *out, "--scene", "attic"],
    ):
        main(arguments)
        shown = capsys.readouterr()
        assert not set(shown.out + shown.err) & {"\x1b", "\x07", "\x9b"}, arguments
    assert main(["report", copy.stem, *out, "--to", str(tmp_path / "r.html")]) == 0
    assert (tmp_path / "r.html").stat().st_size > 10_000


# -- unusual worlds -------------------------------------------------------------------------------


def small_world(root: Path, scenes: list[str], splits: list[str], side: int = 16) -> Path:
    """Photos of one colour each, with one label, of the given scenes and splits."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rows = []
    for k, (scene, split) in enumerate(zip(scenes, splits, strict=True)):
        shade = np.full((side, side, 3), 20 * k % 256, np.uint8)
        Image.fromarray(shade).save(root / "images" / f"{k}.png")
        Image.fromarray(np.ones((side, side), np.uint8)).save(root / "masks" / f"{k}.png")
        rows.append(f"{k},{scene},{split}")
    (root / "labels.csv").write_text("value,name\n1,bed\n")
    (root / "scenes.csv").write_text("\n".join(["image,scene,split", *rows]) + "\n")
    return root


@pytest.mark.parametrize(
    "world", ["one label, no test split", "every answer right", "1 pixel", "no scene is a class"]
)
def test_unusual_worlds_are_dissected_or_refused_in_a_sentence(world, tmp_path, capsys):
    scenes, splits = ["attic", "barn", "cellar"] * 8, ["train"] * 24
    side = 1 if world == "1 pixel" else 16
    if world == "no scene is a class":
        scenes = ["bedroom"] * 24
    if world == "every answer right":
        first = small_world(tmp_path / "first", scenes, splits)
        run = execute(
            plan(Settings(f"folder:{first}", tiny.SPEC, q=0.05, shuffles=20)),
            tmp_path / "first-runs",
        )
        scenes = [
            tiny.SCENES[k]
            for k in run.sql("SELECT predicted FROM images ORDER BY image")["predicted"]
        ]
        run.close()
    photos = small_world(tmp_path / "photos", scenes, splits, side)
    out = ["--out", str(tmp_path / "runs")]
    asked = [
        "run",
        "--dataset",
        f"folder:{photos}",
        "--model",
        tiny.SPEC,
        "--q",
        "0.05",
        "--shuffles",
        "20",
        *out,
    ]
    assert main(asked) == 0
    capsys.readouterr()
    with Run(next((tmp_path / "runs").glob("*.duckdb"))) as run:
        correct = run.sql("SELECT count(*) AS n, sum(correct::INT) AS right FROM images").iloc[0]
        assert correct["n"] == 24
        assert world != "every answer right" or correct["right"] == 24
    for arguments in (
        ["show"],
        ["show", "--json"],
        ["tables", "--allow-empty"],
        ["tables", "--split", "test"],
        ["contribution", "--scene", scenes[0], "--cc", "top10"],
        ["toggle", "--units", "1,2"],
        ["toggle", "--units", "1", "--split", "test"],
        ["formulas", "--units", "0-2"],
        ["explain", "--image", "0", "--cc", "top10"],
        ["report", "--to", str(tmp_path / "r.html")],
        ["search", "--split", "train"],
        ["retrain", "pe", "--cc", "top10"],
    ):
        words = 2 if arguments[0] == "retrain" else 1
        status = main([*arguments[:words], "latest", *arguments[words:], *out])
        told = capsys.readouterr()
        assert status in (0, 2), (arguments, status, told.err)
        assert "Traceback" not in told.err
        assert "nan" not in told.out.lower() or "--json" in arguments
