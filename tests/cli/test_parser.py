"""The parser: every option is explained, mistakes name the nearest, a bare call lists the verbs."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from core.cli import VERBS, main, parser
from core.cli.parser import Parser


def parsers(top: Parser, name: str = "") -> Iterator[tuple[str, Parser]]:
    """Every verb and word below a parser, by its name."""
    yield name, top
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, inner in action.choices.items():
                yield from parsers(inner, f"{name} {word}".strip())


def test_every_option_says_what_it_is_its_values_and_its_default():
    found = dict(parsers(parser()))
    assert len(found) > 45
    for name, one in found.items():
        said = one.format_help()
        for action in one._actions:
            typed = f"{name} {action.option_strings or action.dest}"
            if isinstance(action, argparse._SubParsersAction):
                continue
            assert action.help, f"{typed} says nothing of itself"
            if action.choices and action.option_strings:
                flat = " ".join(said.split())
                assert all(str(choice) in flat for choice in action.choices), typed
            if isinstance(action.default, int | float) and not isinstance(action.default, bool):
                text = one._get_formatter()._expand_help(action)
                assert re.search(rf"\b{action.default:g}\b", text.replace(",", "")), typed


def test_a_bare_call_lists_every_verb_under_a_heading(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    top = parser()
    assert all(f"\n{heading}:\n" in said for heading in VERBS)
    for verb in top.words.choices:
        (row,) = [line for line in said.splitlines() if line.startswith(f"  {verb} ")]
        assert len(row) <= 100 and row.endswith((".", "?")), row


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["toggl"], "unknown verb 'toggl'; nearest: toggle"),
        (["datasets", "chek"], "unknown word 'chek'; nearest: check"),
        (["show", "latest", "--denominators", "all"], "nearest: --denominator"),
        (["show", "latest", "--shuffels=3"], "unknown option '--shuffels'"),
        (["run", "--dataset", "rooms", "--model", "rooms", "--shuffels=3"], "nearest: --shuffles"),
        (["show", "latest", "--denominator", "anotated"], "nearest: annotated"),
        (["toggle", "latest", "more"], "--units --top-negative --top-positive is required"),
        (["layers", "--model", "rooms", "more"], "'more' is more than python -m core layers takes"),
        (["run", "--model", "rooms"], "--dataset"),
    ],
)
def test_a_mistake_names_the_nearest_and_where_the_help_is(typed, says, capsys):
    with pytest.raises(SystemExit) as ended:
        main(typed)
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.startswith("error: ") and says in said
    assert "--help lists what there is" in said and len(said.splitlines()) == 2


def test_a_shell_completes_verbs_and_options(capsys):
    pytest.importorskip("shtab", reason="shtab is not installed: make optional")
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("no bash here")
    asked = script + (
        "\nasked() { COMP_WORDS=($@); COMP_CWORD=$(($# - 1)); _shtab_unitscope; }"
        "\nasked unitscope togg; echo ${COMPREPLY[@]}"
        "\nasked unitscope show --denom; echo ${COMPREPLY[@]}"
    )
    said = subprocess.run([shell, "-c", asked], capture_output=True, text=True, timeout=60)
    assert said.stdout.split() == ["toggle", "--denominator"], said.stderr
