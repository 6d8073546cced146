"""Do two checkouts compute the same numbers? For a change of the code that is to change none.

    python -m benchmarks.same_numbers BEFORE AFTER --data DIR [--reuse] [--words]

In each checkout, with its own code: the run of `rooms`, what the command line answers about it
(:data:`ANSWERS`), and the quick reproduction of profile `nyuv2` (Tables 1 to 6, Figures 3 to 5).
Compared are the digests of the runs' tables, every cell of every CSV file, and every number of the
JSON answers; seconds, dates, paths and digests of inputs and code are not. Prints one line a thing
compared; the exit status is 1 where anything differs.

Without ``--reuse`` everything is made in a new folder, on one thread. With it, runs and
reproductions that lie in the checkouts' ``cache`` and ``cache/quick`` are taken as they are. A
sentence that was reworded is shown, and counts as a difference with ``--words`` alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

ANSWERS: dict[str, tuple[str, ...]] = {
    "show": ("show", "RUN", "--top", "999"),
    "concepts": ("concepts", "RUN", "--scene", "bedroom", "--cc", "icc"),
    "tables": ("tables", "RUN", "--csv", "CSV"),
    "tables 2": ("tables", "RUN", "--table", "2", "--embedding", "words", "--csv", "CSV"),
    "tables 5": ("tables", "RUN", "--table", "5", "--embedding", "words", "--k", "20-22"),
    "explain": ("explain", "RUN", "--image", "bedroom-val-000"),
    "explain SCC": ("explain", "RUN", "--image", "kitchen-test-003", "--cc", "scc"),
    "toggle": ("toggle", "RUN", "--units", "3,17,101"),
    "toggle negative": ("toggle", "RUN", "--top-negative", "5", "--scene", "bedroom"),
    "toggle clamped": ("toggle", "RUN", "--units", "8", "--clamp", "1.5", "--split", "test"),
    "contribution": ("contribution", "RUN", "--scene", "bedroom", "--top", "999"),
    "formulas": ("formulas", "RUN", "--units", "0,1,2,3,4,5,6,7"),
    "search": ("search", "RUN", "--method", "forward", "--most", "5", "--halves", "1"),
    "figures": (
        *("figures", "RUN", "--protocol", "global", "--halves", "1", "--every", "5"),
        *("--csv", "CSV"),
    ),
}
"""Question → verb with its arguments. RUN is the run of `rooms`, CSV a folder."""

UNCOMPARED = re.compile(
    r"seconds|finished|\bdate|^(run|runs|digest|path|file|folder|results|command|versions|drawn)$"
)
"""Keys of JSON, and columns of CSV, that may differ: when, where, and by which code."""

Leaf = tuple[str, Any]


class Line(NamedTuple):
    """One thing that was compared. figures : how many; differ, words : what is not the same."""

    what: str
    figures: int
    differ: list[str]
    words: list[str]


class Checkout:
    """One checkout, and where its results lie."""

    def __init__(self, root: Path, out: Path, data: Path):
        self.root, self.out, self.data = root.resolve(), out.resolve(), data.resolve()

    def core(self, *arguments: str) -> dict[str, Any]:
        """The JSON answer of a verb, computed by this checkout's code on one thread.

        Raises SystemExit with what it said where it fails.
        """
        own = self.root / ".venv" / "bin" / "python"
        python = str(own if own.exists() else sys.executable)
        print(f"{self.root}: {' '.join(arguments)}", file=sys.stderr, flush=True)
        done = subprocess.run(
            [python, "-m", "core", *arguments, "--json"],
            cwd=self.root,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-5:])
            raise SystemExit(f"{self.root}: {' '.join(arguments)}: {said}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def plain(self, text: str) -> str:
        """Words without what this checkout alone has in them: its folders, digests of results."""
        for path, name in ((self.out, "OUT"), (self.root, "CHECKOUT"), (self.data, "DATA")):
            text = text.replace(str(path), name)
        return re.sub(r"\b[0-9a-f]{10,64}\b", "DIGEST", text)


def leaves(value: Any, at: str = "") -> Iterator[Leaf]:
    """Everything in plain data that is compared, with its place."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not UNCOMPARED.search(str(key)):
                yield from leaves(one, f"{at}.{key}".lstrip("."))
    elif isinstance(value, list):
        yield f"{at}.length".lstrip("."), len(value)
        for k, one in enumerate(value):
            yield from leaves(one, f"{at}[{k}]")
    else:
        yield at, value


def cells(path: Path) -> Iterator[Leaf]:
    """Cells of a CSV file, numbers as the text they are written as."""
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            for name, text in row.items():
                if not UNCOMPARED.search(str(name)):
                    yield f"row {number + 1} {name}", Number(text) if is_number(text) else text


class Number(str):
    """A number as it is written: compared digit by digit, and no word."""


def is_number(text: str | None) -> bool:
    """Is a cell a number, or empty where a number may stand?"""
    try:
        return not text or float(text) is not None
    except ValueError:
        return False


def compare(what: str, before: list[Leaf], after: list[Leaf], one: Checkout, two: Checkout) -> Line:
    """Leaf by leaf."""
    held, now = dict(before), dict(after)
    differ = [f"{at} is gone" for at in held if at not in now]
    differ += [f"{at} is new" for at in now if at not in held]
    words = []
    for at, old in held.items():
        if at not in now:
            continue
        new = now[at]
        if isinstance(old, str) and isinstance(new, str) and not isinstance(old, Number):
            old, new = one.plain(old), two.plain(new)
            if old != new:
                words.append(f"{at}: {old!r} → {new!r}")
        elif old != new or type(old) is not type(new):
            differ.append(f"{at}: {old!r} → {new!r}")
    return Line(what, len(held), differ, words)


def tables_digests(one: Checkout, folder: Path) -> dict[str, str]:
    """Dataset and model of every finished run in a folder → digest of its tables."""
    out = {}
    for path in sorted(folder.glob("*.duckdb")):
        with duckdb.connect(str(path), read_only=True) as con:
            facts = {key: json.loads(value) for key, value in con.sql("FROM meta").fetchall()}
        told = facts["settings"]
        name = f"{one.plain(told['dataset']['spec'])} × {one.plain(told['model']['spec'])}"
        out[name.replace("DATA/", "")] = facts["tables_digest"]
    return out


def made(one: Checkout, reuse: bool) -> dict[str, list[Leaf]]:
    """Everything of a checkout that is compared, by what it is."""
    out: dict[str, list[Leaf]] = {}
    rooms = one.core("run", "--dataset", "rooms", "--model", "rooms", "--out", str(one.out))["run"]
    tables = one.out / "quick" / "reproduce-nyuv2-quick"
    if not (reuse and (tables / "results.json").is_file()):
        given = ("--profile", "nyuv2", "--data", str(one.data), "--quick")
        one.core("reproduce", *given, "--out", str(one.out / "quick"))
    for folder in (one.out, one.out / "quick"):
        for name, digest in tables_digests(one, folder).items():
            out[f"tables of run {name}"] = [("digest", Number(digest))]
    with tempfile.TemporaryDirectory() as scratch:
        for name, question in ANSWERS.items():
            into = Path(scratch) / name
            known = {"RUN": str(rooms), "CSV": str(into)}
            asked = [known.get(word, word) for word in question]
            answer = one.core(*asked, "--out", str(one.out))
            out[f"rooms: {name}"] = list(leaves(answer))
            for path in sorted(into.glob("*.csv")):
                out[f"rooms: {name}, {path.name}"] = list(cells(path))
    told = json.loads((tables / "results.json").read_text(encoding="utf-8"))
    out["nyuv2: left out"] = list(leaves(told["left_out"]))
    for key, part in told["parts"].items():
        out[f"nyuv2: {key}, results.json"] = list(leaves(part))
    for path in sorted(tables.glob("*.csv")):
        out[f"nyuv2: {path.name}"] = list(cells(path))
    return out


def main(arguments: list[str] | None = None) -> int:
    """Compare two checkouts; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_numbers")
    parser.add_argument("before", type=Path, help="a checkout, with its .venv or this Python")
    parser.add_argument("after", type=Path, help="another")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the real data")
    parser.add_argument("--reuse", action="store_true", help="take what lies in their cache/")
    parser.add_argument("--words", action="store_true", help="reworded sentences differ too")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        both, found = [], []
        for name in ("before", "after"):
            root: Path = getattr(given, name)
            out = root / "cache" if given.reuse else Path(scratch) / name
            both.append(Checkout(root, out, given.data))
            found.append(made(both[-1], given.reuse))
        lines = [
            compare(what, found[0].get(what, []), found[1].get(what, []), *both)
            for what in dict.fromkeys([*found[0], *found[1]])
        ]
    return report(lines, given.words)


def report(lines: list[Line], words: bool) -> int:
    """Print one line a thing compared, and what differs; returns the exit status."""
    width = max(len(line.what) for line in lines)
    wrong = 0
    for line in lines:
        verdict = "equal"
        if line.words:
            verdict = f"equal, {len(line.words)} reworded"
        if line.differ or (words and line.words):
            verdict = f"{len(line.differ) + len(line.words) * words} DIFFER"
            wrong += 1
        print(f"{line.what:{width}}  {line.figures:>7}  {verdict}")
        for text in [*line.differ, *line.words][:5]:
            print(f"{'':{width}}           {text[:300]}")
    print(f"{len(lines)} compared, {sum(line.figures for line in lines)} values; {wrong} differ")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
