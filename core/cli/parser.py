"""The parser of the command line: help that names every value and default, errors that name the
nearest thing that exists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from core.foundation.errors import unknown
from core.foundation.settings import ROOT

HELP = {
    "--allow-empty": "continue with a note where an input cannot change anything",
    "--allow-python": "import the code that a run or another file names (python:…); trust it first",
    "--cc": "what ranks core concepts",
    "--csv": "also write the table to this file",
    "--denominator": "which pixels count in the union of a unit's label",
    "--iou": "IoU of Eq. 2: per image, or over the whole data set",
    "--json": "one JSON object on the last line",
    "--layer": "a layer of the run; its last where left out",
    "--method": "how concepts are clustered",
    "--out": "folder of the runs",
    "--scene": "a scene of the run, by name",
    "--seed": "of every random choice; the same seed gives the same bytes",
    "--strategy": "concept selection strategy: which concepts of a unit count as learned (Eq. 2)",
    "--units": "numbers and ranges of units: 30, 160-185 or 5,10,20",
}
"""Help of options that several verbs share and that say nothing of their own."""


SHARED = ("--json", "--allow-empty", "--allow-python")
"""Options of every verb, and of each of its words."""


class Help(argparse.HelpFormatter):
    """Adds an option's values, where its placeholder hides them, and its default."""

    def _get_help_string(self, action: argparse.Action) -> str:
        said = action.help or ""
        parts = [said] if said else []
        if action.choices and action.metavar and not isinstance(action.choices, dict):
            parts.append("one of " + ", ".join(f"`{one}`" for one in action.choices))
        default = action.default
        silent = default is None or default is False or default in (argparse.SUPPRESS, "", (), [])
        if not silent and "default" not in said and f"({default})" not in said:
            parts.append(f"default `{_shown(default)}`".replace("%", "%%"))
        return "; ".join(parts)


def _shown(value: object) -> str:
    if isinstance(value, Path):
        inside = value.is_relative_to(ROOT)
        return f"{value.relative_to(ROOT)}/" if inside else str(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


class Parser(argparse.ArgumentParser):
    """A parser whose options say what they do even where a verb is silent (:data:`HELP`), and whose
    errors name the nearest verb, option or value."""

    def __init__(self, *args: Any, **given: Any):
        given.setdefault("formatter_class", Help)
        super().__init__(*args, **given)
        self.groups: dict[str, list[str]] = {}
        """Of the parser of all verbs: heading → verbs, in the order of the help."""

    def _add_action(self, action: Any) -> Any:  # also of groups
        if action.help is None and action.option_strings:
            action.help = HELP.get(action.option_strings[-1])
        return super()._add_action(action)

    def format_help(self) -> str:
        """The verbs under their headings, one line each; argparse's own text for one verb."""
        if not self.groups:
            return super().format_help()
        about = {row.dest: row.help or "" for row in self.words._choices_actions}
        wide = max(map(len, about)) + 2
        lines = [f"usage: {self.prog} [-h] [--version] VERB ...", "", self.description or ""]
        for heading, names in self.groups.items():
            lines += ["", f"{heading}:", *(f"  {name:{wide}}{about[name]}" for name in names)]
        lines += ["", f"{self.prog} VERB --help lists what a verb takes."]
        return "\n".join([*lines, *filter(None, [self.epilog])]) + "\n"

    @property
    def words(self) -> argparse._SubParsersAction[Parser]:
        """The verbs of this parser, or the words of a verb. Raises StopIteration without any."""
        return next(a for a in self._actions if isinstance(a, argparse._SubParsersAction))

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        """As argparse's. A bare call of a parser of verbs prints its help and ends with status 0;
        an unknown option names the nearest of its verb."""
        words = list(sys.argv[1:] if args is None else args)
        if self.groups and not words:
            self.print_help()
            self.exit()
        given: argparse.Namespace
        given, extra = self.parse_known_args(words, namespace)
        if extra:
            self._unknown(given, words, extra)
        return given

    def _unknown(
        self, given: argparse.Namespace, words: Sequence[str], extra: Sequence[str]
    ) -> NoReturn:
        asked: Parser = self
        for word in words:
            known = [a for a in asked._actions if isinstance(a, argparse._SubParsersAction)]
            if known and word in known[0].choices:
                asked = known[0].choices[word]
        word = next((w for w in extra if w.startswith("-")), extra[0])
        if not word.startswith("-"):
            asked.error(f"{word!r} is more than {asked.prog} takes")
        options = [name for action in asked._actions for name in action.option_strings]
        asked.error(str(unknown("option", word.split("=")[0], options)))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        words = isinstance(action, argparse._SubParsersAction)
        what = ("verb" if self.groups else "word") if words else "value"
        raise argparse.ArgumentError(
            None if words else action, str(unknown(what, str(value), map(str, action.choices)))
        )

    def error(self, message: str) -> NoReturn:
        """Say what was wrong and where the help is; ends with status 2."""
        self.exit(2, f"error: {message}\n{self.prog} --help lists what there is.\n")
