"""The paper's tables and figures in one command: its numbers, what is missing, stop and go on."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from core.cli import main
from core.downloads.catalog import find_download
from core.figures.printed import Printed
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.versions import VERSIONS
from core.paper import printed as paper
from core.reproduce import profiles
from core.reproduce.ahead import plan
from core.reproduce.check import check, needs_of
from core.reproduce.compare import Cell, Produced, compare, weigh
from core.reproduce.produce import reproduce
from core.reproduce.profiles import Explaining, Retrainings
from core.reproduce.work import Work
from core.reproduce.write import Folder
from core.runs.run_file import Run
from tests import tiny, tiny_reproduce
from tests.tiny_reproduce import EITHER, TINY

ROOT = Path(__file__).resolve().parents[2]
KEYS = list(paper.PARTS)


# -- the paper's numbers ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def paper_text(data_dir):
    path = data_dir.parent / "paper.txt"
    if not path.is_file():
        pytest.skip(f"the paper's text is not at {path}")
    return path.read_text(encoding="utf-8")


def test_every_printed_row_stands_in_the_paper_in_this_order(paper_text):
    lines = [line.strip() for line in paper_text.splitlines()]
    at = 0
    for key in KEYS:
        for _, lead, printed in paper.PARTS[key].rows:
            at = lines.index(f"{lead} {printed}", at) + 1
    # And no row of numbers is left out: there are no others like them in the text.
    like = re.compile(r"(\+?\d+[.,]\d\d\s*){2,7}$")
    rows = [line for line in lines if like.search(line)]
    assert len(rows) == sum(len(part.rows) for part in paper.PARTS.values()) == 36


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("table1", "CM FP DM FP SM FP CMTP CMT FP SMTP SMT FP"),
        ("table2", "Methods CM FP DM FP SM FP"),
        ("table3", "CMTP CMT FP SMTP SMT FP"),
        ("table4", "Models CC CM FP DM FP SM FP"),
        ("table5", "Cluster Nb. TransD Dismult ProjE TransE"),
        ("table6", "ADE20k Opensurfaces"),
    ],
)
def test_columns_stand_in_the_papers_order(paper_text, key, header):
    assert header in paper_text
    part = paper.PARTS[key]
    plain = (
        header.replace("Dismult", "DistMult")
        .replace("CMT FP", "CM_TFP")
        .replace("SMT FP", "SM_TFP")
        .replace("CMTP", "CM_TP")
        .replace("SMTP", "SM_TP")
        .replace(" FP", "_FP")
    )
    assert plain.endswith(" ".join(part.columns))


def test_what_the_text_says_of_figures_and_claims(paper_text):
    plain = " ".join(paper_text.replace("-\n", "").split())
    for key, quote in paper.QUOTES.items():
        (figure,) = paper.IN_WORDS[key].values()
        assert quote in plain and f"{figure:g}%" in quote
    # What stands in quotation marks is the paper's wording, hyphens of its line ends aside.
    squeezed = re.sub(r"[-\s]", "", plain)
    quoted = [
        piece
        for part in paper.PARTS.values()
        for said in (*part.about, *(claim.text for claim in part.claims))
        for text in re.findall("“(.*?)”", said)
        for piece in text.split("…")
    ]
    assert len(quoted) > 15
    for text in quoted:
        assert re.sub(r"[-\s]", "", text) in squeezed, text


def test_the_published_table_of_clusterings_has_the_groups_that_shares_are_taken_of(data_dir):
    with (data_dir / "reference" / "eiic_concept_filtering.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    base = [row for row in rows if "BASELINE" in str(row.values()).upper()]
    assert base and {int(float(row["nb_groups"])) for row in base} == {paper.ALL_GROUPS}


def test_claims_are_counted_on_the_papers_own_figures():
    parts = {key: compare(TINY, key, Produced({}, ("", ""), [], {})) for key in KEYS}
    weigh(parts)
    of = {text: theirs for part in parts.values() for text, theirs, _ in part.claims}
    ours = [own for part in parts.values() for _, _, own in part.claims]
    assert all(own == (0, 0) for own in ours)
    by = paper.PARTS["table4"].cells
    slow = sum(by[(m, "SCC"), c] > by[(m, "ICC"), c] for m in paper.MODELS for c in paper.FALSE)
    assert of["“SCC has better results than ICC over every model”"] == (slow, 9)
    five = paper.PARTS["table5"].cells
    best = sum(
        five[(str(k),), "TransE"] > five[(str(k),), e]
        for k in paper.GROUPS
        for e in ("TransD", "DistMult", "ProjE")
    )
    assert of["“TransE outperforms others” (at the same number of groups)"] == (best, 27)


def test_cells_lie_beside_the_papers():
    made = Produced(
        {(("Threshold", "SCC"), "CM_FP"): Cell(28.1, 23.6, 33.0, 20.0, 331)},
        ("chance", "c"),
        [],
        {},
    )
    part = compare(TINY, "table1", made)
    rows = {labels: cells for labels, _, cells in part.rows}
    assert list(rows) == [labels for labels, _, _ in paper.PARTS["table1"].rows]
    cell = rows["Threshold", "SCC"]["CM_FP"]
    assert (cell.paper, cell.difference) == (78.03, 28.1 - 78.03)
    assert rows["ConceptSHAP", "–"]["SM_FP"].why == "not run: not here"
    assert rows["Threshold", "Top 10"]["DM_FP"].paper == 18.69
    assert "of 1 figures of ours 1 lie above and 0 below" in part.notes[-1]


# -- what is missing --------------------------------------------------------------------------


def run_cli(capsys, *arguments):
    status = main(["reproduce", *map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out.splitlines()[-1]), captured.err


def test_the_papers_profile_says_what_to_get_and_starts_nothing(capsys, tmp_path):
    status, told, err = run_cli(
        capsys, "--data", tmp_path / "none", "--out", tmp_path / "runs", "--plan"
    )
    assert status == 0 and set(told["left_out"]) == set(KEYS) and told["steps"] == []
    needs = {one["key"]: one for one in told["inputs"]}
    assert all(one["missing"] and one["bring"] for one in needs.values())
    assert "python -m core get conceptnet" in needs["conceptnet"]["bring"]
    assert needs["places365-alexnet"]["parts"] == ["table4", "figure5"]
    status, told, err = run_cli(capsys, "--data", tmp_path / "none", "--out", tmp_path / "runs")
    assert status == 2 and "nothing that was asked for can be made" in told["error"]
    assert "to get it: python -m core get places365-resnet18" in err
    assert not (tmp_path / "runs").exists()


def test_every_profile_is_whole():
    """Each part has its runs, each run its inputs."""
    for profile in (*profiles.PROFILES.values(), TINY, EITHER):
        known = {*profile.needs, *profile.either}
        assert profile.knowledge[1] in known
        for _, needs in profile.runs.values():
            assert set(needs) <= known
        for key, part in profile.parts.items():
            assert key in paper.PARTS
            sets = needs_of(profile, part)
            assert sets and all(set(needs) <= known for needs in sets)
        if profile is not EITHER:
            assert set(profile.parts) == set(KEYS)
        if profile.name in profiles.PROFILES:
            for need in profile.needs.values():
                assert (need.get or need.how) and need.files
                for name in need.get:
                    find_download(name)


def test_a_profile_with_another_network_leaves_nothing_of_the_first():
    """`nyuv2-efficientnet` is `nyuv2` with another network everywhere that this has the ResNet."""
    profile = profiles.open_profile("nyuv2-efficientnet")
    wanted = {spec for asked, _ in profile.runs.values() for spec in [asked.model]}
    figure = profile.parts["figure5"]
    assert isinstance(figure, Retrainings)
    wanted |= {asked.model for asked, _ in figure.models.values()}
    needs = {key for _, keys in profile.runs.values() for key in keys}
    for part in profile.parts.values():
        for keys in needs_of(profile, part):
            needs |= set(keys)
    assert not any("resnet18" in word for word in (*wanted, *needs, *profile.needs))
    assert any("efficientnet_lite0_nyuv2" in spec for spec in wanted)
    # ConSE is the same body: CLIP-Dissect by it would be no evidence of this network's units.
    explaining = [p for p in profile.parts.values() if isinstance(p, Explaining)]
    assert not any(one.encoder for one in explaining)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "table7"], "unknown table or figure 'table7'; nearest: table"),
        (["--profile", "nyu"], "unknown profile 'nyu'; nearest: nyuv2"),
        (["--profile", "tests.tiny_reproduce:NONE"], "cannot be imported"),
        (["--profile", "tests.tiny_reproduce:KNOWLEDGE"], "is no Profile"),
        (["--seeds", "0"], "--seeds takes 1 or more"),
    ],
)
def test_mistakes_in_what_is_asked(capsys, arguments, message):
    status, told, _ = run_cli(capsys, *arguments)
    assert status == 2 and message in told["error"]


def test_inputs_are_looked_for(tmp_path):
    data = tiny_reproduce.write(tmp_path)
    told = check(TINY, data, KEYS)
    assert {one.key for one in told.inputs if one.missing} == {"weights"}
    assert set(told.left_out) == {"figure4"} and "core get tiny-weights" in told.left_out["figure4"]
    (data / "facts.tsv").unlink()
    assert set(check(TINY, data, KEYS).left_out) == set(KEYS)
    either = check(EITHER, data, ["table1", "table2"])
    assert (
        either.specs == {"set": tiny_reproduce.PHOTOS}
        and "nothing for it" in (either.left_out["table2"])
    )
    tiny_reproduce.write(data / "elsewhere")
    (data / "old").symlink_to(data / "elsewhere" / "photos")
    old = check(EITHER, data, ["table1"])
    assert old.specs == {"set": "folder:{data}/old"}
    told = {one.key: one for one in old.inputs}
    assert told["elsewhere"].instead == ["photos"] and told["facts"].instead == []
    assert [key for key, one in told.items() if one.needed] == ["facts", "weights"]
    none = check(EITHER, tmp_path / "x", ["table1"])
    assert "core get old" in none.left_out["table1"] and "; or " in none.left_out["table1"]
    assert [one.parts for one in none.inputs if one.key in ("photos", "elsewhere")] == [
        ["table1"],
        ["table1"],
    ]


# -- the whole --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tiny_reproduce.write(tmp_path_factory.mktemp("reproduce"))


def work_of(data, root, **more):
    return Work(TINY, data, more.pop("keys", KEYS), root, **more)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """(work, folder) of the profile, made without a stop."""
    root = tmp_path_factory.mktemp("whole")
    work = work_of(data, root)
    folder = Folder(root / "report", work)
    reproduce(work, folder.write)
    return work, folder.path


@pytest.fixture(scope="module")
def told(whole):
    return json.loads((whole[1] / "results.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_all_parts_but_those_without_inputs_are_there(whole, told):
    _, folder = whole
    assert list(told["parts"]) == [key for key in KEYS if key != "figure4"]
    assert "core get tiny-weights" in told["left_out"]["figure4"]
    names = {path.name for path in folder.iterdir()}
    assert names >= {"report.html", "report.md", "results.json", "table6.csv", "figure5.tex"}
    assert names >= {f"figure_3-paper.{kind}" for kind in ("svg", "pdf", "png", "csv")}
    four = {tuple(row["labels"]): row["cells"] for row in told["parts"]["table4"]["rows"]}
    assert four["AlexNet", "SCC"]["CM_FP"]["ours"] is not None
    assert "core get tiny-weights" in four["ResNet-50", "SCC"]["CM_FP"]["why"]
    assert four["ResNet-50", "SCC"]["CM_FP"]["paper"] == 80.85
    six = {tuple(row["labels"]): row["cells"] for row in told["parts"]["table6"]["rows"]}
    assert six["SVM (ICC)",]["ADE20k"]["ours"] is not None
    assert "tiny-weights" in six["SVM (ICC)",]["Opensurfaces"]["why"]


@pytest.mark.slow
def test_every_cell_is_its_figure_and_the_difference(told):
    cells = [
        cell
        for part in told["parts"].values()
        for row in part["rows"]
        for cell in row["cells"].values()
    ]
    both = [c for c in cells if c["ours"] is not None and c["paper"] is not None]
    assert len(both) > 90
    assert all(c["difference"] == pytest.approx(c["ours"] - c["paper"]) for c in both)
    assert all(c["difference"] is None for c in cells if c["ours"] is None or c["paper"] is None)
    spans = [c for c in both if c["low"] is not None]
    assert spans and all(c["low"] - 1e-9 <= c["ours"] <= c["high"] + 1e-9 for c in spans)


def said(capsys, *arguments):
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def percent(rows, column):
    return [None if row[column]["value"] is None else 100 * row[column]["value"] for row in rows]


@pytest.mark.slow
def test_tables_are_what_the_separate_verb_gives(whole, told, capsys):
    work, _ = whole
    run = work.run("net")
    common = ["--knowledge", work.spec(TINY.knowledge[0]), "--out", work.root]
    parts = told["parts"]
    for number in (1, 4, 6):
        own = next(iter(parts[f"table{number}"]["details"].values()))
        split = [] if number == 6 else ["--split", "test"]
        assert own == said(capsys, "tables", run.digest, "--table", number, *split, *common)
    k = round(0.5 * 7)
    for number in (2, 3):
        own = parts[f"table{number}"]["details"][f"table_{number}"]
        assert own == said(
            capsys, "tables", run.digest, "--table", number, "--k", k, "--split", "test", *common
        )
    own = parts["table5"]["details"]["table_5"]
    asked = ["--k", "3,4,5", "--embedding", "TransE", "--embedding", "DistMult"]
    assert own == said(capsys, "tables", run.digest, "--table", 5, *asked, *common)
    # And the cells are those figures.
    one = {tuple(r["labels"]): r["cells"] for r in parts["table1"]["rows"]}
    verb = said(capsys, "tables", run.digest, "--split", "test", *common)["rows"]
    for column in ("CM_FP", "SM_TFP"):
        mine = [one[r["concepts of units"], r["core concepts"]][column]["ours"] for r in verb]
        assert mine == percent(verb, column)
    two = {tuple(r["labels"]): r["cells"] for r in parts["table2"]["rows"]}
    rows = parts["table2"]["details"]["table_2"]["rows"]
    by = {(r["core concepts"], r["concepts"]): r["CM_FP"]["value"] for r in rows}
    assert two["SCC",]["CM_FP"]["ours"] == 100 * by["SCC", "filtered by TransE"]
    assert two["SCC",]["CM_FP"]["chance"] == 100 * by["SCC", "random groups"]
    assert two["SCC, without filtering",]["CM_FP"]["ours"] == 100 * by["SCC", "unfiltered"]
    five = {tuple(r["labels"]): r for r in parts["table5"]["rows"]}
    gains = {(r["Embeddings"], r["nb_groups"]): r["ratio_iou"] for r in own["rows"]}
    assert five["168",]["cells"]["TransE"]["ours"] == 100 * gains["TransE", 4]
    assert five["168",]["shown"] == "here 4 of 7"
    assert five["168",]["cells"]["ProjE"]["why"].startswith("not run")
    assert five["170",]["cells"]["TransE"]["why"].startswith("not run")


@pytest.mark.slow
def test_figures_are_what_the_separate_verbs_give(whole, told, capsys):
    work, _ = whole
    run = work.run("net")
    common = ["--knowledge", work.spec(TINY.knowledge[0]), "--out", work.root]
    rankings = [x for name in ("icc", "scc", "random") for x in ("--ranking", name)]
    details = told["parts"]["figure3"]["details"]
    for protocol in ("by_predicted_scene", "global"):
        verb = said(
            capsys,
            "figures",
            run.digest,
            "--protocol",
            protocol,
            *rankings,
            "--judge",
            "test",
            "--halves",
            1,
            "--most",
            5,
            "--every",
            1,
            *common,
        )["rows"]
        verb = [row for row in verb if row["k"] in (1, 2, 5)]
        own = details[f"figure_3-{protocol}-held-out"]
        assert [strip(row) for row in own] == [strip(row) for row in verb]
    rows = {tuple(r["labels"]): r["cells"] for r in told["parts"]["figure3"]["rows"]}
    curve = {(r["ranking"], r["sign"], r["k"]): r["gain"] for r in details["figure_3-paper"]}
    assert rows["paper", "positive", "ICC"]["k = 5"]["ours"] == 100 * curve["icc", "positive", 5]
    assert rows["paper", "positive", "ICC"]["k = 20"]["ours"] is None
    result = told["parts"]["figure5"]["runs"][0].removeprefix("retrain-")
    verb = said(capsys, "retrain", "show", result, "--out", work.root)["summary"]
    assert told["parts"]["figure5"]["details"][f"figure_5-{paper.NETWORK}"] == verb
    rows = {tuple(r["labels"]): r["cells"] for r in told["parts"]["figure5"]["rows"]}
    by = {row["cc"]: row for row in verb}
    cell = rows[paper.NETWORK, "ICC"]
    assert cell["accuracy"]["ours"] == 100 * by["icc"]["test"]
    assert cell["over the control"]["ours"] == 100 * by["icc"]["gain"]
    better = max(by["icc"]["test"], by["scc"]["test"]) - by["original"]["test"]
    own = rows[paper.NETWORK, paper.BETTER]["over the original"]
    assert own["ours"] == pytest.approx(100 * better) and own["paper"] == 3.27


def strip(row):
    """A curve's point without the random units' draws, whose seeds hang on k's that are made."""
    return {k: v for k, v in row.items() if row["ranking"] != "random" or k in ("k", "before")}


@pytest.mark.slow
def test_the_files_are_well_formed(whole):
    _, folder = whole
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page and "http" not in page.replace("http-equiv", "").replace(
        "http://www.w3.org", ""
    )
    assert page.count("<svg") == 4 and "not run" in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for svg in folder.glob("*.svg"):
        ElementTree.parse(svg)
    with (folder / "table1.csv").open(encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 12 and rows[3]["CM_FP_paper"] == "43.04"
    tex = (folder / "table1.tex").read_text(encoding="utf-8")
    # A head, two lines for each row with a figure of ours or a reason.
    assert tex.count(r"\\") == 1 + 2 * 12 and "−" not in tex
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "| Threshold | SCC |" in text and "78.03 (" in text


@pytest.mark.slow
def test_stopped_at_many_places_it_gives_the_same_bytes(data, whole, tmp_path):
    work, folder = whole
    made = tmp_path / "report"
    stops = 0
    for patience in (3, 9, 40, 90, 250, 600, 10**9):
        asked = itertools.count()
        again = work_of(data, tmp_path, stop=lambda a=asked, p=patience: next(a) >= p)
        try:
            reproduce(again, Folder(made, again).write)
        except UnitscopeError as err:
            assert "goes on" in str(err) or "go on" in str(err) or type(err) is Stopped, err
            assert type(err).__name__ == "Stopped"
            stops += 1
    assert stops >= 4
    for path in folder.iterdir():
        if path.suffix not in (".pdf",):  # they hold the time they were made
            assert (made / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_finished_work_is_only_read(data, whole):
    work, folder = whole
    before = {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*.svg")}
    runs = {p: p.stat().st_mtime_ns for p in folder.parent.glob("*.duckdb")}
    again = work_of(data, work.root)
    ahead = plan(again)
    assert {one.state for one in ahead.steps} == {"finished"} and ahead.seconds == 0
    old = (folder / "results.json").read_bytes()
    # Killed after its last renaming, a run leaves this: it is removed, as `run` does.
    left = next(iter(runs)).with_suffix(".partial")
    left.mkdir()
    (left / "published").write_text("whole: only renaming is left\n")
    reproduce(again, Folder(folder, again).write)
    assert not left.exists()
    assert (folder / "results.json").read_bytes() == old
    assert before == {p: p.stat().st_mtime_ns for p in folder.parent.rglob("*.svg")}
    assert runs == {p: p.stat().st_mtime_ns for p in folder.parent.glob("*.duckdb")}


@pytest.mark.slow
def test_figures_are_drawn_anew_when_they_are_drawn_otherwise(data, whole, monkeypatch):
    work, folder = whole
    again = work_of(data, work.root, keys=["figure3"])
    before = (folder / "figure_3-paper.svg").stat().st_mtime_ns
    monkeypatch.setitem(VERSIONS, "figures", VERSIONS["figures"] + 1)
    drawn = Folder(folder, again)
    reproduce(again, lambda parts, _: drawn._figures(parts["figure3"]))
    assert (folder / "figure_3-paper.svg").stat().st_mtime_ns > before


@pytest.mark.slow
def test_figures_for_a_paper_are_written_beside_those_of_the_report(data, whole):
    work, folder = whole
    said = []
    again = work_of(data, work.root, keys=["figure3"], say=said.append)

    def drawn(printed):
        made = Folder(folder, again, printed)
        reproduce(again, lambda parts, _: made._figures(parts["figure3"]))
        return (folder / "printed" / "figure_3-paper.svg").read_text(encoding="utf-8")

    # One size after another, and back: each is of the size that was asked for.
    for inches in (7.0, 9.0, 7.0):
        assert f'width="{inches:g}in"' in drawn(Printed(inches))
    # One that does not fit is named, and what there is stays.
    assert 'width="7in"' in drawn(Printed(1.5, 20))
    assert any("figure_3-paper is not written for a paper" in line for line in said)
    said = (folder / "printed" / "figure_3-paper.txt").read_text(encoding="utf-8")
    assert "oracle" in said and "judged on" in said
    assert "oracle" in (folder / "figure_3-paper.svg").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_part_that_fails_does_not_keep_the_others_back(data, tmp_path):
    bad = tmp_path / "data"
    bad.mkdir()
    (bad / "photos").symlink_to(data / "photos")
    (bad / "facts.tsv").symlink_to(data / "facts.tsv")
    (bad / "other.pt").write_bytes(b"no weights")
    work = work_of(bad, tmp_path / "runs", keys=["table1", "table4", "table6", "figure4"])
    ahead = plan(work)
    assert any(one.how.startswith("fails: ") for one in ahead.steps)
    parts, left_out = reproduce(work, lambda *_: None)
    assert list(parts) == ["table1", "table4", "table6"]
    assert left_out.keys() == {"figure4"} and "UnpicklingError" in left_out["figure4"]
    # Nor does a network keep back the others of its table.
    four = {labels: cells for labels, _, cells in parts["table4"].rows}
    assert four["AlexNet", "ICC"]["SM_FP"].ours is not None
    assert "UnpicklingError" in four["ResNet-50", "ICC"]["SM_FP"].why
    six = {labels: cells for labels, _, cells in parts["table6"].rows}
    assert six["SVM (SCC)",]["ADE20k"].ours is not None
    assert "UnpicklingError" in six["SVM (SCC)",]["Opensurfaces"].why


@pytest.mark.slow
def test_killed_it_goes_on_and_says_so(capsys, data, tmp_path):
    """By the command line, in a process of its own that is killed without warning."""
    arguments = [
        "--profile",
        "tests.tiny_reproduce:TINY",
        "--data",
        str(data),
        "--out",
        str(tmp_path),
        "--only",
        "table1,table6,figure3",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "core", "reproduce", *arguments],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    table = tmp_path / "reproduce-tiny" / "table1.csv"
    until = time.monotonic() + 120
    while not table.is_file() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (run,) = tmp_path.glob("*.duckdb")
    made = run.stat().st_mtime_ns
    status, told, err = run_cli(capsys, *arguments)
    assert status == 0 and told["parts"] == ["table1", "table6", "figure3"]
    assert "finished" in err and run.stat().st_mtime_ns == made
    assert told["command"].startswith(
        "python -m core reproduce --profile tests.tiny_reproduce:TINY"
    )
    assert "--only table1,table6,figure3" in told["command"]
    text = (tmp_path / "reproduce-tiny" / "report.md").read_text(encoding="utf-8")
    assert "not made yet" not in text
    assert main(["reproduce", *arguments]) == 0
    assert "3 of 3 parts" in capsys.readouterr().out


def test_quick_is_marked_on_every_page(capsys, data, tmp_path):
    arguments = [
        "--profile",
        "tests.tiny_reproduce:TINY",
        "--data",
        data,
        "--out",
        tmp_path,
        "--quick",
        "--only",
        "table5,figure5",
    ]
    status, told, err = run_cli(capsys, *arguments)
    folder = tmp_path / "reproduce-tiny-quick"
    assert status == 0 and told["quick"] and told["folder"] == str(folder) and "QUICK" in err
    for name in ("report.html", "report.md", "table5.tex", "figure5.tex"):
        assert "QUICK" in (folder / name).read_text(encoding="utf-8"), name
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert results["quick"] and results["command"].endswith("--quick")
    one = results["parts"]["figure5"]["notes"][0]
    assert "--seeds 1 --epochs 1" in one


def test_seeds_are_those_asked_for(data, tmp_path):
    work = work_of(data, tmp_path, keys=["figure5"], seeds=1)
    assert work.part("figure5").models[paper.NETWORK][0].seeds == 1
    assert TINY.parts["figure5"].models[paper.NETWORK][0].seeds == 2


@pytest.mark.slow
def test_another_graph_is_another_result(data, tmp_path, whole):
    """What is kept beside a run is kept by the facts it was made with."""
    work, _ = whole
    run = work.run("net")
    here = work.where(run, "table1", {"splits": ("test",)})
    other = Work(replace(TINY, knowledge=("builtin", "facts")), data, KEYS, work.root)
    assert other.where(Run(run.path), "table1", {"splits": ("test",)}) != here
    assert work.where(run, "table1", {"splits": ("train",)}) != here
    assert tiny.SPEC in run.info["settings"]["model"]["spec"]
