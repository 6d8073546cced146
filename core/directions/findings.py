"""What the verbs conceptshap, tcav, ace and vrx found, kept as plain tables for the app.

What they compute is kept by themselves, and needs the network to be read; a page shows what was
found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from core.foundation.files import parse_json, strict_json, write_text
from core.foundation.versions import versions_of
from core.runs.kept import kept
from core.runs.run_file import Run, derived

COLUMNS = {
    "conceptshap": ("name", "shapley", "low", "high", "iou", "held", "chance", "leads"),
    "tcav": ("scene", "photos", "score", "low", "high", "p_half", "p_null"),
    "ace": ("name", "score", "low", "high", "p", "p_null", "iou", "purity", "segments", "photos"),
    "vrx": ("variant", "agreement", "low", "high", "accuracy", "about"),
}
"""Verb → the columns of its table: text, counts and figures."""

WORDS, COUNTS = ("name", "scene", "variant", "about"), ("photos", "segments")


@dataclass(frozen=True, eq=False)
class Finding:
    """What a verb found.

    Attributes
    ----------
    verb : of :data:`COLUMNS`. layer : dotted name. about : what was asked, in a line.
    notes : what must be said beside the figures: controls, and where they are no evidence.
    frame : the columns of the verb.
    """

    verb: str
    layer: str
    about: str
    notes: tuple[str, ...]
    frame: pd.DataFrame

    def keep(self, run: Run) -> None:
        """Write it beside the run, in place of the answer to the same question before."""
        facts = [self.verb, self.layer, self.about, versions_of("concept vectors", "graphs")]
        held = {
            "run": run.digest,
            "verb": self.verb,
            "layer": self.layer,
            "about": self.about,
            "notes": list(self.notes),
            "rows": self.frame[list(COLUMNS[self.verb])].to_dict("records"),
        }
        write_text(derived(run, "told", facts, "json"), strict_json(held))


def findings(run: Run, layer: str) -> list[Finding]:
    """All that was found of a layer, the latest first; what cannot be read is left out."""
    files = sorted(
        kept(run.path.with_suffix(".derived"), "told-*.json"),
        key=lambda path: (-path.stat().st_mtime_ns, path.name),
    )
    found = []
    for path in files:
        try:
            held = parse_json(path.read_text(encoding="utf-8"))
            if held["run"] == run.digest and held["layer"] == layer:
                found.append(_read(held))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found


def _read(held: Any) -> Finding:
    """From plain data, every cell checked: the file may be damaged, or a stranger's."""
    columns = COLUMNS[held["verb"]]
    rows: Sequence[Any] = held["rows"]
    frame = pd.DataFrame(
        {
            name: [
                str(row[name])
                if name in WORDS
                else int(row[name])
                if name in COUNTS
                else _number(row[name])
                for row in rows
            ]
            for name in columns
        }
    )
    notes = tuple(str(note) for note in held["notes"])
    return Finding(str(held["verb"]), str(held["layer"]), str(held["about"]), notes, frame)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
