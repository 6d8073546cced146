"""Reports and exported figures: whole, self-contained, valid, and with names as they are."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.cli import main
from core.dissect.predictions import import_predictions
from core.figures.contents import FIGURES, TABLES, available, open_view
from core.figures.export import export
from core.figures.report import ACCOUNT, report
from core.figures.units import iou_chance
from core.foundation.errors import UnitscopeError
from core.views import causes, explain, knowledge
from core.views.names import shown_name
from core.views.runs import summary
from core.views.units import iou_histogram, unit_concepts, unit_table

VOID = {"meta", "link", "br", "img", "hr", "input", "path", "line", "rect", "circle", "use"}


class Checked(HTMLParser):
    """Reads a document; raises where a tag is closed that is not open, or left open."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_a_report_is_valid_and_holds_what_was_asked(tiny_run):
    view = open_view(tiny_run, "body.3", "annotated")
    text = report(view)
    page = Checked(text)
    said = page.text()
    shown, listed = available(view)
    assert shown == list(FIGURES) and listed == list(TABLES)
    # No unit of this network beats chance, so that nothing is drawn of what they detect.
    drawn = [name for name in shown if FIGURES[name].draw(view) is not None]
    assert {"accuracy", "confusion", "overlap"} <= set(drawn)
    assert sum(tag == "svg" for tag, _ in page.tags) == len(drawn)
    command = summary(tiny_run).command
    for word in (
        "Scene by scene",
        "Units with the clearest labels",
        "What the words mean",
        "only annotated pixels count",
        tiny_run.digest,
        command,
    ):
        assert word in said, word
    table = unit_table(tiny_run, "body.3", "annotated")
    assert f"{int(table['above'].sum())} of 12 units of body.3" in said
    assert text == report(view), "the same run gives the same bytes"


def test_a_report_asks_for_nothing_and_its_parts_have_names_of_their_own(tiny_run):
    text = report(open_view(tiny_run))
    for tag, attributes in Checked(text).tags:
        assert tag not in ("script", "link", "iframe", "object", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), name
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                assert value.startswith(("data:image/", "#")), value
    assert not re.search(r"url\((?!#)|@import", text)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)
    assert "default-src 'none'" in text


def test_only_what_is_chosen(tiny_run):
    view = open_view(tiny_run)
    text = report(view, ["overlap"], ["units"], photos=False)
    page = Checked(text)
    assert sum(tag == "svg" for tag, _ in page.tags) == 1 and "<img" not in text
    assert "Scene by scene" not in page.text()
    for wrong, said in ((["overlaps"], "unknown figure"), (None, "unknown table")):
        with pytest.raises(UnitscopeError, match=said):
            report(view, wrong, ["unit"])


def test_units_and_photos_get_sections_of_their_own(tiny_run):
    view = open_view(tiny_run)
    text = report(view, [], [], True, [3, 0], ["010"])
    page = Checked(text)
    said = page.text()
    assert "Unit 3 of body.3" in said and "Unit 0 of body.3" in said and "Photo 010" in said
    best = unit_concepts(tiny_run, "body.3", 3).iloc[0]
    assert shown_name(best["name"]) in said and f"{best['iou']:.3f}"[:4] in said
    spec = tiny_run.own_knowledge
    known = knowledge.know(tiny_run, knowledge.open_knowledge(spec), spec)
    told = explain.account(tiny_run, known, "010", "body.3", *ACCOUNT).account
    assert told.sentence in said
    svgs = sum(tag == "svg" for tag, _ in page.tags)
    assert svgs == 7 + (3 if told.scenes else 0)
    network = causes.open_layer(tiny_run, "body.3")
    caused = causes.causes(tiny_run, network, known, "010", ACCOUNT[2]).causes
    assert caused.sentence in said and said.index(caused.sentence) < said.index(told.sentence)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert "<img" not in report(view, [], [], False, [3], ["010"])
    for units, images, why in (([12], [], "no unit 12"), ([], ["10"], "unknown image")):
        with pytest.raises(UnitscopeError, match=why):
            report(view, [], [], False, units, images)


def test_names_are_escaped(tmp_path):
    table = tmp_path / "p.csv"
    evil = "<script>alert(1)</script>"
    table.write_text(f'pred,target\n"{evil}","a & ""b"""\n"{evil}","{evil}"\n')
    run = import_predictions(table, name='<b>&"x', root=tmp_path / "runs")
    text = report(open_view(run))
    page = Checked(text)
    assert not any(tag in ("script", "b") for tag, _ in page.tags)
    said = page.text()
    assert '<b>&"x' in said and "alert(1)" in said and 'a & "b"' in said
    with pytest.raises(UnitscopeError, match="has none"):
        report(open_view(run), ["overlap"])


def test_export_and_report_on_the_command_line(capsys, tiny_run, tmp_path):
    root = str(tiny_run.path.parent)
    given = ["export", tiny_run.digest, "--figures", str(tmp_path / "f"), "--out", root]
    assert (
        main(
            [
                *given,
                "--layer",
                "body.1",
                "--format",
                "svg,png",
                "--only",
                "accuracy",
                "--only",
                "overlap",
                "--json",
            ]
        )
        == 0
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    names = [Path(file).name for file in told["files"]]
    assert names == ["accuracy.svg", "accuracy.png", "overlap-body.1.svg", "overlap-body.1.png"]
    assert all(Path(file).stat().st_size > 1000 for file in told["files"])
    # What the app's Save gives, but for the numbers of its parts.
    view = open_view(tiny_run, "body.1")
    shown = iou_chance(iou_histogram(tiny_run, "body.1"), view.caption())
    plain = [
        re.sub(r"clip\d+", "clip", text)
        for text in ((tmp_path / "f" / names[2]).read_text(), export(shown, "svg").decode())
    ]
    assert plain[0] == plain[1]
    for more, said in ((["--format", "gif"], "figure format"), (["--only", "x"], "figure 'x'")):
        assert main([*given, *more]) == 2 and said in capsys.readouterr().err
    to = tmp_path / "r.html"
    assert main(["report", tiny_run.digest, "--to", str(to), "--out", root]) == 0
    assert to.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
