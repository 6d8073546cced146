"""The verbs conceptshap, tcav and ace, and rivals in Table 1, by the command line."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from core.cli import main
from core.directions import conceptshap


def said(capsys, *arguments: str, status: int = 0):
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    from core.directions import ace, vectors

    monkeypatch.setattr(conceptshap, "REFIT_STEPS", 2)
    plain = vectors.Learning
    monkeypatch.setattr(
        vectors, "Learning", lambda concepts, **more: plain(concepts, epochs=2, steps=9, **more)
    )
    monkeypatch.setattr(ace, "SEGMENTS", (8, 16))
    monkeypatch.setattr(ace, "RANDOMS", 8)


@pytest.fixture
def words(planted) -> list[str]:
    return [planted.digest, "--out", str(planted.path.parent)]


def test_conceptshap(words, capsys, tmp_path):
    csv = tmp_path / "vectors.csv"
    facts = said(capsys, "conceptshap", *words, "--concepts", "3", "--csv", str(csv))
    assert facts["exact"] and facts["subsets"] == 2 ** len(facts["vectors"])
    total = sum(row["shapley"] for row in facts["vectors"])
    gained = facts["completeness"]["value"] - facts["completeness_of_none"]
    assert total == pytest.approx(gained)
    assert len(pd.read_csv(csv)) == len(facts["vectors"])
    by = said(capsys, "conceptshap", *words, "--concepts", "3", "--scene", "barn")
    assert by["scene"] == "barn" and by["completeness"] == facts["completeness"]
    assert main(["conceptshap", *words, "--concepts", "3", "--scene", "barn"]) == 0
    text = capsys.readouterr().out
    assert "for barn, by every subset" in text and "as many random places" in text


def test_tcav(words, capsys, tmp_path):
    few = ["--runs", "3", "--randoms", "5"]
    facts = said(capsys, "tcav", *words, "--concept", "red", *few)
    assert facts["scores"][0]["scene"] == "attic" and facts["constant"]
    csv = tmp_path / "scores.csv"
    inner = [*words, "--layer", "body.1", "--of", "probability", "--csv", str(csv)]
    some = said(capsys, "tcav", *inner, "--concept", "red", "--scene", "barn", *few)
    assert len(some["scores"]) == 1 == len(pd.read_csv(csv)) and not some["constant"]
    assert main(["tcav", *words, "--concept", "red", *few]) == 0
    text = capsys.readouterr().out
    assert "pass the published test" in text and "--of probability depends" in text


def test_ace(words, capsys):
    pytest.importorskip("skimage")
    few = ["--images", "8", "--clusters", "4", "--members", "4", "--runs", "3"]
    facts = said(capsys, "ace", *words, "--scene", "attic", *few)
    assert facts["concepts"][0]["examples"][0]["box"]
    assert main(["ace", *words, "--scene", "attic", *few]) == 0
    assert "random sets of segments of the same photos" in capsys.readouterr().out


def test_mistakes_are_said(words, capsys):
    for given, why in (
        (["conceptshap", *words, "--concepts", "9"], "in a space of 5 units"),
        (["conceptshap", *words, "--samples", "50"], "of 8 every subset is tried"),
        (["conceptshap", *words, "--split", "tset"], "unknown split 'tset'"),
        (["tcav", *words, "--concept", "reed"], "unknown concept 'reed'; nearest: red"),
        (["tcav", *words, "--concept", "red", "--by", "pixels"], "unknown kind of examples"),
        (["ace", *words, "--scene", "atic"], "unknown scene 'atic'; nearest: attic"),
        (["tables", *words, "--labels", "datset"], "unknown labelling method 'datset'"),
        (["tables", *words, "--encoder", "conse"], "taken by none of the methods"),
        (["tables", *words, "--table", "4", "--conceptshap"], "are of table 1"),
    ):
        assert why in said(capsys, *given, status=2)["error"], given


def test_rivals_are_rows_of_table_1(words, facts, capsys, monkeypatch):
    plain = conceptshap.Asked
    monkeypatch.setattr(
        conceptshap,
        "Asked",
        lambda **more: plain(learning=conceptshap.Learning(3, epochs=2, steps=9), **more),
    )
    given = ["tables", *words, "--allow-empty", "--knowledge", facts, "--labels", "dataset"]
    table = said(capsys, *given, "--conceptshap")
    rows = [(row["concepts of units"], row["core concepts"]) for row in table["rows"]]
    assert rows[:4] == [
        ("ConceptSHAP", "–"),
        ("NetDissect", "Top 10"),
        ("NetDissect", "SCC"),
        ("NetDissect", "ICC"),
    ]
    assert any(note.startswith("ConceptSHAP: ") for note in table["notes"])
