"""The verb that makes the paper's tables and figures from a profile's data."""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from core.cli.common import (
    Answer,
    Verb,
    add_printed,
    printed_of,
    say,
    show_progress,
    stoppable,
)
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json
from core.foundation.progress import duration
from core.foundation.settings import CACHE


def add(verb: Verb) -> None:
    """reproduce."""
    sub = verb("reproduce", _reproduce, "The paper's Tables 1 to 6 and Figures 3 to 5 beside ours.")
    sub.add_argument(
        "--profile",
        default="paper",
        metavar="NAME",
        help="paper, nyuv2, nyuv2-efficientnet, or your own as package.module:NAME "
        "(docs/reproduce.md)",
    )
    sub.add_argument(
        "--data",
        type=Path,
        default=Path("downloads"),
        metavar="DIR",
        help="the folder that the profile's inputs lie in (downloads/)",
    )
    sub.add_argument("--only", default="", metavar="table1,figure3", help="these alone")
    sub.add_argument("--plan", action="store_true", help="say all, time it, and do nothing")
    sub.add_argument("--seeds", type=int, help="of re-trainings, instead of the profile's")
    sub.add_argument(
        "--quick",
        action="store_true",
        help="all made small, to see whether it works; marked so on every page",
    )
    sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")
    sub.add_argument(
        "--to", type=Path, metavar="DIR", help="folder of the report (OUT/reproduce-PROFILE)"
    )
    add_printed(sub)


def _reproduce(given: argparse.Namespace) -> Answer:
    from core.paper.printed import chosen

    keys = chosen([name for name in given.only.split(",") if name.strip()])
    if given.seeds is not None and given.seeds < 1:
        raise UnitscopeError(f"--seeds takes 1 or more, not {given.seeds}")
    from core.reproduce.profiles import open_profile

    printed = printed_of(given)
    profile = open_profile(given.profile)
    from core.paper.printed import PARTS
    from core.reproduce.ahead import plan, plan_text
    from core.reproduce.produce import reproduce
    from core.reproduce.work import Work
    from core.reproduce.write import Folder, again, results

    began = time.monotonic()
    name = profile.name + ("-quick" if given.quick else "")
    to = given.to or given.out / f"reproduce-{name}"
    with stoppable() as stop:
        work = Work(
            profile,
            given.data,
            keys,
            given.out,
            say,
            show_progress,
            stop,
            given.quick,
            given.seeds,
            given.profile,
        )
        ahead = plan(work)
        text = plan_text(ahead)
        if given.plan:
            return asdict(ahead), f"{text}\n\nnothing was run"
        say(text + "\n")
        if not work.makeable:
            raise UnitscopeError(
                f"nothing that was asked for can be made; missing: "
                f"{', '.join(one.key for one in ahead.inputs if one.needed)} (above: "
                "how to get them)"
            )
        folder = Folder(to, work, printed)
        parts, left_out = reproduce(work, folder.write)
    seconds = time.monotonic() - began
    facts: Json = {
        "profile": profile.name,
        "quick": given.quick,
        "folder": str(to),
        "results": str(to / "results.json"),
        "parts": list(parts),
        "left_out": left_out,
        "command": again(work),
        "seconds": seconds,
        "claims": {
            key: part["claims"] for key, part in results(work, parts, left_out)["parts"].items()
        },
    }
    lines = [f"{to / 'report.html'}: {len(parts)} of {len(keys)} parts, {duration(seconds)}"]
    for part in parts.values():
        lines += ["", part.title]
        for said, theirs, ours in part.claims:
            own = f"{ours[0]} of {ours[1]}" if ours[1] else "–"
            its = f"{theirs[0]} of {theirs[1]}" if theirs[1] else "–"
            lines.append(f"  paper {its:>8}, ours {own:>8}: {said}")
    lines += [f"\nleft out: {PARTS[key].title}: {why}" for key, why in left_out.items()]
    if given.quick:
        lines.append("\nQUICK: made small to see whether everything works. Quote nothing of it.")
    return facts, "\n".join(lines)
