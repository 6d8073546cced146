"""docs/commands.md from the parser: ``python -m core.cli.reference > docs/commands.md``."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Iterator

from core.cli import PROG, parser
from core.cli.parser import SHARED

COMMON = ("--help", *SHARED)
"""Options of every verb, listed once."""

HEAD = f"""\
# Command line reference

<!-- Generated from the parser by `make docs`; edit the help texts in core/cli/ instead. -->

`{PROG}` alone lists the verbs. `{PROG} VERB` and, once installed, `unitscope VERB`
are the same command. A RUN is the digest of a run, the beginning of one, or `latest`.
`unitscope app` serves the app and takes the options of `python -m pages.parts.serve`
([serving.md](serving.md)). `unitscope completion bash` prints what bash completes them by; zsh and
tcsh have scripts of their own.

Exit status: 0 done; 2 a mistake in the input, or no room; 3 an unforeseen error
(`UNITSCOPE_TRACEBACK=1` shows where); 130 stopped.
"""


def reference() -> str:
    """The whole reference as Markdown: an overview of the verbs, then each with its options."""
    top = parser()
    verbs = _words(top)
    assert verbs is not None
    about = {row.dest: row.help or "" for row in verbs._choices_actions}
    first = next(iter(verbs.choices.values()))
    shared = [a for a in first._actions if set(a.option_strings) & set(COMMON)]
    parts = [HEAD, "Options of every verb:\n", "\n".join(_option(first, a) for a in shared) + "\n"]
    parts.append("| verb | what it does |\n| --- | --- |")
    parts += [f"| [`{name}`](#{name}) | {_text(about[name])} |" for name in verbs.choices]
    parts.append("")
    for name, sub in verbs.choices.items():
        parts += _section(name, sub, "##")
    return "\n".join(parts).rstrip() + "\n"


def _section(name: str, sub: argparse.ArgumentParser, level: str) -> Iterator[str]:
    """A verb, and the words that it has."""
    words = _words(sub)
    own = [
        action
        for action in sub._actions
        if not set(action.option_strings) & set(COMMON) and action is not words
    ]
    own.sort(key=lambda action: bool(action.option_strings))
    usage = [PROG, name, *(_given(a) for a in own if not a.option_strings or a.required)]
    if words is not None:
        usage.append("WORD" if words.required else "[WORD]")
    if any(a.option_strings and not a.required for a in own):
        usage.append("[OPTIONS]")
    yield f"{level} {name}\n"
    yield _wrapped(_text(sub.description or "")) + "\n"
    yield f"```\n{' '.join(usage)}\n```\n"
    if own:
        yield "\n".join(_option(sub, action) for action in own) + "\n"
    for word, inner in (words.choices if words else {}).items():
        yield from _section(f"{name} {word}", inner, level + "#")


def _words(
    sub: argparse.ArgumentParser,
) -> argparse._SubParsersAction[argparse.ArgumentParser] | None:
    return next((a for a in sub._actions if isinstance(a, argparse._SubParsersAction)), None)


def _given(action: argparse.Action) -> str:
    """An argument as it is typed: ``--layer NAME``, ``RUN [RUN ...]``."""
    value = action.metavar or ("|".join(map(str, action.choices)) if action.choices else None)
    value = str(value or action.dest.upper().replace("_", "-"))
    if action.nargs == 0:
        value = ""
    elif action.nargs == "?":
        value = f"[{value}]"
    elif action.nargs == "+":
        value = f"{value} [{value} ...]"
    elif action.nargs == "*":
        value = f"[{value} ...]"
    return " ".join(
        filter(None, [action.option_strings[-1] if action.option_strings else "", value])
    )


def _option(sub: argparse.ArgumentParser, action: argparse.Action) -> str:
    """An argument in an item of a list: how it is typed, what it does, what it is without."""
    typed = _given(action)
    if isinstance(action, argparse.BooleanOptionalAction):
        typed = ", ".join(action.option_strings)
    text = _text(sub._get_formatter()._expand_help(action))
    # Python 3.11 and 3.12 add this to options with a --no- form.
    text = re.sub(r" \(default: .*\)$", "", text)
    return _wrapped(f"- `{typed}`" + (f": {text}" if text else ""), "  ")


def _text(said: str) -> str:
    """Text in which nothing outside `code` is taken for markup."""
    parts = re.split(r"(`[^`]*`)", said)
    return "".join(p if p.startswith("`") else re.sub(r"([<>*|])", r"\\\1", p) for p in parts)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    print(reference(), end="")
