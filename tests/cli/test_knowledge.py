"""What the command line says of knowledge without effect and of guesses."""

from __future__ import annotations

import json

from core.cli import main
from core.knowledge.core_concepts import (
    Annotated,
)
from tests.knowledge.facts import facts_file


def _asked(run, path):
    return [run.digest, "--out", str(run.path.parent), "--knowledge", f"triples:{path}"]


def test_the_command_line_refuses_knowledge_without_effect(tiny_run, tmp_path, capsys):
    asked = _asked(
        tiny_run, facts_file(tmp_path, [("IsA", "attic", "thing"), ("IsA", "barn", "thing")])
    )
    for verb in (["concepts"], ["tables"], ["contribution", "--scene", "barn"], ["search"]):
        assert main([verb[0], *asked, *verb[1:]]) == 2
        assert "has no fact by AtLocation" in capsys.readouterr().err
    # Frequency alone asks nothing of the graph.
    assert main(["concepts", *asked, "--cc", "top10"]) == 0
    capsys.readouterr()
    assert main(["tables", *asked, "--allow-empty"]) == 0
    said = capsys.readouterr()
    assert "has no fact by AtLocation" in said.err
    assert "nan" not in said.out
    assert "`align --write FILE` and --overrides FILE mend them" in said.out
    assert main(["tables", *asked, "--allow-empty", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][1]
    assert row["CM_FP"]["value"] is None and row["CM_FP"]["n"] == 0
    assert main(["contribution", *asked, "--scene", "barn", "--cc", "scc", "--allow-empty"]) == 0
    assert "'barn' has no core concepts" in capsys.readouterr().err


def test_the_command_line_shows_guesses(tiny_run, tmp_path, capsys):
    """A barn read by its plural is none; by a misspelt node it is: its members say so."""
    things = Annotated.from_run(tiny_run).concepts[:2]
    rows = [("AtLocation", thing, place) for thing in things for place in ("attic", "barned")]
    asked = _asked(tiny_run, facts_file(tmp_path, rows))
    names = tmp_path / "names.tsv"
    names.write_text("name\tnode\nbarn\tbarned\n", encoding="utf-8")
    assert main(["concepts", *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["scenes"]["attic"]) <= set(things) and told["guesses"] == {}
    assert main(["concepts", *asked]) == 0
    assert "no node, so nothing is related to: barn, cellar" in capsys.readouterr().out
    # What a person says is no guess.
    assert main(["concepts", *asked, "--overrides", str(names), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scenes"]["barn"] and told["guesses"] == {}
    # A graph that writes verbs as lemmatisers leave them: the word is a guess.
    run = tiny_run
    rows = [("AtLocation", thing, "cellar") for thing in things[:1]]
    asked = _asked(run, facts_file(tmp_path, [*rows, ("AtLocation", things[1], "attic")], "b.tsv"))
    assert main(["concepts", *asked, "--scene", "cellar", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["guess"] == "" and all(member["guess"] == "" for member in told["members"])
