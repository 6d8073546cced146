"""Strange addresses, uploads and arguments, for :mod:`benchmarks.reliability`.

Pages are opened by Streamlit's AppTest in processes forked from one that has opened each of them
well; the parameters are those that the pages' own text reads. Arguments are those that the command
line's own parser knows.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

from benchmarks.trials import ROOT, Inputs, mutate, said_by

PAGES = ("app.py", *sorted(f"pages/{p.name}" for p in (ROOT / "pages").glob("*.py")))

STRANGE = (
    "",
    " ",
    "0",
    "-1",
    "--5",
    "²",
    "٣",
    "1e999",
    "nan",
    "9" * 400,
    "9" * 3900,
    "1.5",
    "true",
    "null",
    "None",
    "[]",
    "{}",
    "a" * 3900,
    "é" * 900,
    "e\u0301",
    "\u202egnp",
    "\x00",
    "\x1b[2J",
    "\x07",
    "\ud7ff\ufffe",
    "\n",
    "\t",
    "../../etc/passwd",
    "/etc/passwd",
    "~",
    "folder:/etc",
    "triples:/etc/passwd",
    "python:os:system:true",
    "' OR 1=1 --",
    '"; DROP TABLE units; --',
    "%",
    "%25%00",
    "_",
    "*",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "$\\frac{1}{0}$",
    ":red[x]",
    "=cmd()",
    "0-99999999",
    "3,3,3",
    "-",
    ",",
    "~" * 50,
    "·",
)
"""Values that no link of ours has."""


def parameters(page: str) -> list[str]:
    """Names of the parameters that a page, or what all pages share, reads from the address."""
    names = {"run", "layer", "definition", "knowledge", "names"}
    files = [ROOT / page]
    if page.endswith("9_Runs.py"):  # its form lies in parts
        files += sorted((ROOT / "pages" / "parts").glob("*.py"))
    for file in files:
        text = file.read_text(encoding="utf-8")
        names |= set(re.findall(r"address\.\w+\(\s*\"([\w-]+)\"", text))
        for group in re.findall(r"^[A-Z_]+ = \(([^()]*)\)", text, re.MULTILINE):
            names |= set(re.findall(r"\"([a-z_]+)\"", group))
    return sorted(names)


GOOD = {
    "unit": ("0", "3"),
    "scene": ("attic", "barn"),
    "concept": ("thing 1", "thing 2"),
    "image": ("007", "001"),
    "off": ("1-2", "0"),
    "view": ("matrix", "map", "units", "groups", "core", "own", "search", "curves", "names"),
    "split": ("test", "train", "all"),
    "knowledge": ("builtin",),
}


def _value(name: str, rng: random.Random) -> str:
    """Something strange, or something good that was changed."""
    good = GOOD.get(name, ("all", "test", "body.3", "icc"))
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(STRANGE)
    if kind < 0.8:
        return rng.choice(good)
    return mutate(rng.choice(good).encode(), rng).decode("utf-8", "replace")[:5000]


def visit(page: str, asked: dict[str, str], upload: tuple[str, bytes] | None = None) -> Any:
    """A page opened at an address, with a file given to it."""
    from streamlit.testing.v1 import AppTest

    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=300)
    for name, value in asked.items():
        at.query_params[name] = value
    if page != "app.py":
        at.switch_page(page)
    at.run()
    if upload is not None and len(at.file_uploader):
        at.file_uploader[0].set_value((*upload, "application/octet-stream")).run()
    return at


def _judge(at: Any) -> tuple[int, str]:
    """As of a verb: 3 and the message where the page shows an exception; 2 where it says no."""
    if at.exception:
        return 3, f"{at.exception[0].message} {' '.join(at.exception[0].stack_trace)[-400:]}"
    return (2, "") if len(at.warning) or len(at.error) else (0, "")


def add(inputs: Inputs, owner: bool = True) -> None:
    """Fill `inputs` with trials of every page, upload and verb."""
    from pages.parts import access

    runs = inputs.base / "good" / "runs"
    cache = inputs.base / "pages"
    shutil.copytree(runs, cache, ignore=shutil.ignore_patterns("jobs", "*.partial"))
    os.environ["UNITSCOPE_CACHE"] = str(cache)
    if owner:  # who may upload corrections
        access.who = lambda: "owner"

    def page_trial(page: str) -> None:
        names = parameters(page)

        def trial(rng: random.Random) -> tuple[int, str]:
            # A run or layer that is none ends most pages at once: seldom, to get further.
            some = [n for n in names if n not in ("run", "layer") or rng.random() < 0.15]
            chosen = rng.sample(some, min(len(some), rng.randint(1, 4)))
            asked = {name: _value(name, rng) for name in chosen}
            if "view" in names and rng.random() < 0.5:
                asked["view"] = rng.choice(GOOD["view"])
            status, said = _judge(visit(page, asked))
            return status, f"{asked!r:.300} {said}" if status == 3 else said

        inputs.add_trial(f"address: {Path(page).stem}", trial)

    for page in PAGES:
        page_trial(page)

    from PIL import Image

    photo = inputs.base / "photo"
    photo.mkdir()
    for kind in ("png", "jpg", "webp", "bmp", "gif", "tiff", "avif"):
        with contextlib.suppress(OSError, KeyError, ValueError):
            Image.effect_noise((40, 32), 60).convert("RGB").save(photo / f"a.{kind}")
    photos = sorted(photo.iterdir())

    def photo_trial(rng: random.Random) -> tuple[int, str]:
        file = rng.choice(photos)
        data = mutate(file.read_bytes(), rng)
        return _judge(visit("pages/4_Explain.py", {"view": "own"}, (file.name, data)))

    def names_trial(rng: random.Random) -> tuple[int, str]:
        data = mutate(b"name,node\nattic,attic\nthing 1,bed\nbarn,\n", rng)
        return _judge(visit("pages/3_Concepts.py", {"view": "names"}, ("names.csv", data)))

    inputs.add_trial("upload: photo", photo_trial)
    inputs.add_trial("upload: corrected names", names_trial)
    _arguments(inputs)


# -- arguments ----------------------------------------------------------------------------------


PLACES = ("out", "to", "write", "csv", "latex", "out-dir", "figures")
"""Options that say where to write: these get places below the trial's own folder alone."""

WORK = ("run", "embed", "retrain", "annotate", "formulas", "search", "figures", "reproduce")
"""Verbs that may take longer than any input should."""

LEFT_OUT = ("bench",)
"""Verbs that only measure; what they take is a subset of ``run``'s options."""


def _verbs() -> dict[str, argparse.ArgumentParser]:
    """Every verb, with sub-verbs, and its parser."""
    from core.cli import parser as whole_parser

    found: dict[str, argparse.ArgumentParser] = {}

    def walk(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> None:
        below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        for action in below:
            for name, sub in action.choices.items():
                walk(sub, (*words, name))
        if words and (not below or not below[0].required):
            found[" ".join(words)] = parser

    walk(whole_parser(), ())
    return {name: parser for name, parser in found.items() if name.split()[0] not in LEFT_OUT}


def _argument(action: argparse.Action, here: Path, rng: random.Random) -> str:
    """A value for an option: one that it is used to, one of its choices, or a strange one."""
    words = {action.dest, *(option.strip("-") for option in action.option_strings)}
    if words & set(PLACES):
        return str(here / rng.choice(("made", "a file", "deep/er/made", "é", "x" * 300, "b.html")))
    if action.choices and rng.random() < 0.3:
        return str(rng.choice(list(action.choices)))
    if rng.random() < 0.3:
        return rng.choice(("latest", "attic", "thing 1", "000", "1,2", "3", "0.5", "body.3", "all"))
    value = rng.choice([v for v in STRANGE if not v.startswith("python:")])
    return mutate(value.encode(), rng).decode("utf-8", "replace") if rng.random() < 0.2 else value


def _arguments(inputs: Inputs) -> None:
    source = inputs.base / "good" / "runs"
    photos = inputs.base / "photos"
    here = inputs.base / "try"

    def verb_trial(name: str, parser: argparse.ArgumentParser) -> None:
        def trial(rng: random.Random) -> tuple[int, str]:
            shutil.rmtree(here, ignore_errors=True)
            shutil.copytree(source, here)
            os.chdir(here)  # where the verbs put what they are told no place for
            given = name.split()
            actions = [
                a
                for a in parser._actions
                if not isinstance(a, (argparse._HelpAction, argparse._SubParsersAction))
            ]
            for action in actions:
                takes = action.nargs != 0
                if not action.option_strings:
                    usual = "latest" if "run" in action.dest else _argument(action, here, rng)
                    strange = rng.random() < 0.3
                    given.append(_argument(action, here, rng) if strange else usual)
                elif {"out"} & {o.strip("-") for o in action.option_strings}:
                    given += ["--out", str(here)]
                elif action.required or rng.random() < min(0.5, 3 / len(actions)):
                    option = rng.choice(action.option_strings)
                    if option.endswith("allow-python") or option in ("--yes", "-y"):
                        continue
                    if action.dest == "dataset" and rng.random() < 0.6:
                        given += [option, f"folder:{photos}"]
                    elif action.dest == "model" and rng.random() < 0.6:
                        given += [option, "python:tests.tiny:net"]
                    else:
                        given += [option, _argument(action, here, rng)] if takes else [option]
            status, said = said_by(given)
            if status == 130 and name.split()[0] in WORK:
                status = 0  # it was at work, and heard that it should stop
            return status, f"{' '.join(given)!r:.400} {said[-300:]}" if status == 3 else said

        inputs.add_trial(f"arguments: {name}", trial)

    for name, parser in _verbs().items():
        verb_trial(name, parser)
