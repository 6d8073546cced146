"""ConceptNet 5.7: its assertions file in one pass, and the compact form that is kept of it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from core.foundation.digest import DIGITS
from core.foundation.errors import BadFile
from core.foundation.files import parse_json, write_whole
from core.foundation.progress import Report, of_bytes
from core.knowledge.graph import MAX_RELATIONS, Gather, Graph, Names, fold, quoted
from core.runs.kept import place

FORMAT = 1
"""Number of the compact file's layout and of the reader's rules; a change makes old files stale."""

CHUNK = 1 << 23


def _source_key(path: Path) -> str:
    """Name of a source file's compact form: over its size, time of change and bytes.

    Of a file above 64 MiB, 256 blocks spread evenly stand for all bytes: hashing 10 GB would
    cost as much as reading it, and an edit also changes size or time.
    """
    facts = path.stat()
    h = hashlib.sha256(f"{FORMAT} {facts.st_size} {facts.st_mtime_ns} ".encode())
    block = 1 << 16
    with path.open("rb") as f:
        if facts.st_size <= 64 << 20:
            for piece in iter(lambda: f.read(1 << 20), b""):
                h.update(piece)
        else:
            for at in np.linspace(0, facts.st_size - block, 256).astype(np.int64).tolist():
                f.seek(at)
                h.update(f.read(block))
    return h.hexdigest()[:DIGITS]


def open_conceptnet(path: Path, cache: Path, progress: Report | None) -> Graph:
    if path.is_dir():
        raise BadFile(path, "is a folder; name the assertions file in it (…/assertions.csv.gz)")
    kept = place(cache / f"knowledge-{_source_key(path)}.npz")
    if kept.is_file():
        try:
            graph = load_graph(kept)
            graph.name = f"conceptnet:{path.name}"
            return graph
        except BadFile:
            kept.unlink()
    graph = read_conceptnet(path, progress)
    save_graph(graph, kept)
    return graph


def save_graph(graph: Graph, path: Path) -> None:
    """Write a graph's arrays as one .npz, whole or not at all."""

    def write(fresh: Path) -> None:
        with fresh.open("wb") as f:
            np.savez(
                f,
                about=np.frombuffer(
                    json.dumps([FORMAT, graph.name, graph.relations]).encode(), np.uint8
                ),
                blob=graph.nodes.blob,
                offsets=graph.nodes.offsets,
                heads=graph.heads,
                kinds=graph.kinds,
                tails=graph.tails,
                weights=graph.weights,
            )

    write_whole(path, write)


def load_graph(path: Path) -> Graph:
    """Read what :func:`save_graph` wrote. Raises BadFile where it is damaged."""
    try:
        with np.load(path) as held:
            version, name, relations = parse_json(held["about"].tobytes())
            if version != FORMAT:
                raise ValueError(f"layout {version}, not {FORMAT}")
            nodes = Names(held["blob"], held["offsets"])
            return Graph(
                name, nodes, relations, *(held[k] for k in ("heads", "kinds", "tails", "weights"))
            )
    except Exception as err:
        raise BadFile(path, f"is no compact graph ({err}); delete it") from err


class _Counted(io.RawIOBase):
    """A file that counts the bytes read from it, compressed or not, to estimate the time left."""

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.taken += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def read_conceptnet(path: Path, progress: Report | None = None) -> Graph:
    """English-to-English facts of a ConceptNet 5.7 assertions file, in one pass.

    A line has five columns separated by tabs: ``/a/[…]``, ``/r/Relation``, ``/c/lang/start…``,
    ``/c/lang/end…``, JSON with ``weight``. Of ``/c/en/bed/n/wn/artifact`` the part of speech and
    the sense are folded: the node is ``bed``. Every line's form is checked; the JSON only of
    lines that are kept. Memory holds one block of the file and the facts kept.

    Raises BadFile with the line's number and the reason.
    """
    total = max(path.stat().st_size, 1)
    gather = Gather()
    lines, began, result = 0, time.monotonic(), 0.0
    counted = _Counted(path)
    with counted:
        zipped = path.suffix == ".gz"
        source: Any = (
            gzip.GzipFile(fileobj=io.BufferedReader(counted, 1 << 20)) if zipped else counted
        )
        rest = b""
        while True:
            try:
                block = source.read(CHUNK)
            except (OSError, EOFError, zlib.error) as err:
                raise BadFile(path, f"breaks off after line {lines}: {err}") from err
            if block:
                cut = block.rfind(b"\n") + 1
                whole, rest = (rest + block[:cut], block[cut:]) if cut else (b"", rest + block)
                if len(rest) > 4 * CHUNK:
                    raise BadFile(path, f"line {lines + 1} does not end: this is no text file")
            else:
                whole, rest = (rest + b"\n" if rest else b""), b""
            if whole:
                lines += _take(whole, path, lines, gather)
            now = time.monotonic()
            if progress and (now - result > 0.5 or not block):
                result = now
                done = counted.taken if block else total
                progress(of_bytes(f"{lines:,} lines,", done, total, done, began))
            if not block:
                break
    if not lines:
        raise BadFile(path, "is empty; ConceptNet 5.7 assertions are needed")
    if not len(gather.heads):
        raise BadFile(path, f"holds no fact between two English nodes (in {lines:,} lines)")
    return gather.graph(f"conceptnet:{path.name}")


ENGLISH = np.frombuffer(b"/c/en/", np.uint8)
_BEGINNINGS = (b"/a/", b"/r/", b"/c/", b"", b"{")
_COLUMNS = ("the URI, /a/[…]", "the relation, /r/…", "the start, /c/…", "the end", "JSON, {…}")


def _take(block: bytes, path: Path, before: int, gather: Gather) -> int:
    """Check whole lines, gather those between two English nodes; how many lines there were."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == 10)
    tabs = np.flatnonzero(data == 9)
    starts = np.concatenate([[0], ends[:-1] + 1])
    # Tabs that lie in each line: four everywhere, or the first line that differs is reported.
    held = np.diff(np.searchsorted(tabs, ends, "left"), prepend=0)
    if (held != 4).any():
        bad = int(np.flatnonzero(held != 4)[0])
        text = block[starts[bad] : ends[bad]].decode("utf-8", "replace")
        why = f"has {held[bad] + 1} columns parted by tabs, not the 5 of ConceptNet assertions"
        if held[bad] == 2:
            why += " (for relation, head, tail say triples:FILE)"
        raise BadFile(path, f"line {before + bad + 1} {why}: {quoted(text)}")
    column = np.column_stack([starts, tabs.reshape(-1, 4) + 1])
    data = np.concatenate([data, np.zeros(8, np.uint8)])
    for k, want in enumerate(_BEGINNINGS):
        right = np.ones(len(ends), bool)
        for j, letter in enumerate(want):
            right &= data[column[:, k] + j] == letter
        if not right.all():
            bad = int(np.flatnonzero(~right)[0])
            text = block[starts[bad] : ends[bad]].decode("utf-8", "replace")
            raise BadFile(
                path,
                f"line {before + bad + 1}: column {k + 1} should be {_COLUMNS[k]}: {quoted(text)}",
            )
    english = np.ones(len(ends), bool)
    for k in (2, 3):
        for j, letter in enumerate(ENGLISH):
            english &= data[column[:, k] + j] == letter
    kept = np.flatnonzero(english)
    cuts = column[kept].tolist()
    for line, (_, relation, start, end, fact), stop in zip(
        kept.tolist(), cuts, ends[kept].tolist(), strict=True
    ):
        weight = _weight(block, fact, stop)
        head = _node(block[start + 6 : end - 1])
        tail = _node(block[end + 6 : fact - 1])
        if weight is None or not head or not tail:
            text = block[starts[line] : stop].decode("utf-8", "replace")
            why = "the JSON has no number `weight`" if head and tail else "a node has no name"
            raise BadFile(path, f"line {before + line + 1}: {why}: {quoted(text)}")
        gather.add(block[relation + 3 : start - 1], head, tail, weight)
        if len(gather.relations) > MAX_RELATIONS:
            raise BadFile(
                path, f"line {before + line + 1} brings relation number {MAX_RELATIONS + 1}"
            )
    return len(ends)


def _node(name: bytes) -> bytes:
    """``bed/n/wn/artifact`` → ``bed``; underscores are spaces."""
    name = name.split(b"/", 1)[0].replace(b"_", b" ")
    if name.isascii() and name.islower() and b"  " not in name and name.decode().isprintable():
        return name.strip()
    return fold(name.decode("utf-8", "replace")).encode()


_WEIGHT = b'"weight": '


def _weight(block: bytes, start: int, stop: int) -> float | None:
    """The `weight` of a JSON object; its keys are sorted, so it is the last."""
    at = block.rfind(_WEIGHT, start, stop)
    text = block[at + len(_WEIGHT) : stop].strip()
    if at >= 0 and text.endswith(b"}"):
        try:
            return float(text[:-1])
        except ValueError:
            pass
    try:
        fact = parse_json(block[start:stop])
        return float(fact["weight"]) if isinstance(fact, dict) else None
    except (ValueError, KeyError, TypeError):
        return None
