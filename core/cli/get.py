"""The verb that fetches data sets, weights and graphs from their official addresses."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from core.cli.common import Answer, Verb, say, show_progress
from core.foundation.errors import UnitscopeError

WHERE = Path("downloads")


def add(verb: Verb) -> None:
    """get."""
    get = verb("get", _get, "Fetch data sets, weights, ConceptNet; without NAME, list them.")
    get.add_argument("name", nargs="?", metavar="NAME", help="see the list; all where left out")
    get.add_argument(
        "--to", type=Path, default=WHERE, metavar="DIR", help="folder of downloads (downloads/)"
    )
    get.add_argument(
        "--from", dest="source", metavar="URL_OR_DIR", help="a mirror in place of the official site"
    )
    get.add_argument(
        "--checksum",
        metavar="ALGORITHM:DIGITS",
        help="what the file must have, in place of the published one; `none` checks nothing",
    )
    get.add_argument("--keep", action="store_true", help="keep the archive when it is unpacked")
    get.add_argument("--yes", action="store_true", help="accept the licence and terms shown")


def _get(given: argparse.Namespace) -> Answer:
    from core.downloads.catalog import find_download
    from core.downloads.fetch import read_checksum
    from core.downloads.get import get, source_of, state

    if given.name is None:
        if given.source or given.checksum:
            raise UnitscopeError("--from and --checksum are of one NAME; none was given")
        return _list(given.to)
    entry = find_download(given.name)
    if given.checksum not in (None, "none"):
        read_checksum(given.checksum)
    if state(entry, given.to) != "there":
        source_of(entry, given.source)  # mistakes are reported before the terms
        _accept(entry, given)
    got = get(
        entry,
        given.to,
        given.source,
        checksum=given.checksum,
        keep=given.keep,
        progress=show_progress,
        note=say,
    )
    facts = {
        "name": entry.name,
        "path": str(got.path),
        "fetched": got.fresh,
        "use": entry.use.replace("{path}", str(got.path)).replace("{root}", str(given.to)),
        **got.marker.to_json(),
    }
    lines = [f"{got.path} ({'got' if got.fresh else 'was there'})"]
    lines.append(f"checked: {(got.marker.checked or '').partition(':')[0]}")
    if entry.use:
        lines.append(f"use it by: {facts['use']}")
    return facts, "\n".join(lines)


def _accept(entry: Any, given: argparse.Namespace) -> None:
    say(f"{entry.name}: {entry.about}\nlicence: {entry.licence}\nterms:   {entry.terms}")
    if entry.note:
        say(f"note:    {entry.note}")
    if given.yes:
        return
    if not sys.stdin.isatty():
        raise UnitscopeError("read the terms above, and accept them by --yes")
    print("Accept these terms? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UnitscopeError("the terms were not accepted; nothing was fetched")


STATES = {
    "there": "there",
    "changed": "changed since it was got",
    "part": "begun",
    "unknown": "there, not got by this command",
    "": "",
}


def _list(root: Path) -> Answer:
    from core.downloads.catalog import DOWNLOADS
    from core.downloads.get import state

    rows = []
    lines = [f"{'name':22} {'size':>8}  {'checked by':10}  what it is", ""]
    for entry in DOWNLOADS:
        held = state(entry, root)
        size = entry.size or entry.about_bytes
        rows.append({**entry._asdict(), "place": str(root / entry.place), "state": held})
        shown = "?" if size is None else f"{size / 1e6:,.0f} MB" if size >= 1e6 else f"{size:,} B"
        shown = ("~" if entry.size is None and size else "") + shown
        sums = (entry.checksum or "size").partition(":")[0]
        lines.append(f"{entry.name:22} {shown:>8}  {sums:10}  {entry.about}")
        lines.append(f"{'':43}  {entry.licence}" + ("" if entry.url else "; by registration"))
        if held:
            lines.append(f"{'':43}  {STATES[held]}: {root / entry.place}")
    lines += ["", "python -m core get NAME [--to DIR] [--from MIRROR] shows the terms first"]
    return {"downloads": rows, "to": str(root)}, "\n".join(lines)
