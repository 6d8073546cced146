"""What the app shows of the test of truth: what was found out of a run, as frames.

The network is not run here: `python -m core truth RUN` does, as a job where a page asks for it, and
what it finds is kept beside the run.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from core.attribution.judged import ANSWERS, Asked, Truth, kept_truths
from core.foundation.errors import UnitscopeError
from core.foundation.settings import judged_split
from core.paper.truth import truth_table
from core.paper.truth import truth_words as truth_words
from core.runs.run_file import Run
from core.views.rooms import can_edit

SHORT = ("account-minmax-threshold-image-",)
"""Of many variants of one method those that the short list shows begin so."""


MOST = Asked.photos
"""So many wrong and so many right answers are judged where no other number is asked for."""


def truths(run: Run) -> dict[str, Truth]:
    """What was found out of a run by a name for people, the latest first: of equal questions the
    latest alone."""
    found: dict[str, Truth] = {}
    for truth in kept_truths(run):
        counted = sum(truth.photos.values())
        split = truth.asked.split or "all splits"
        name = f"{split}, {counted} photos, {truth_words(truth.by).partition(',')[0]}"
        found.setdefault(name, truth)
    return found


def figures_of(found: Truth, name: str, every: bool = False) -> pd.DataFrame:
    """A figure of every method: method, about, family, answers, value, low, high, chance, n; the
    best on wrong answers (right ones where there are none) first.

    name : of :data:`core.attribution.judged.FIGURES`. every : the paper's account in all its
    variants; otherwise as it is asked for where nothing else is said, with each kind of core
    concepts.

    Raises UnitscopeError where nothing applies to any photo.
    """
    rows = [
        {
            "method": row.method,
            "about": row.about,
            "family": row.family,
            "answers": row.answers,
            **{
                key: getattr(row.figures[name], key)
                for key in ("value", "low", "high", "chance", "n")
            },
        }
        for row in found.rows
        if row.figures[name].n
        and (every or not row.method.startswith("account-") or row.method.startswith(SHORT))
    ]
    if not rows:
        raise UnitscopeError("this figure applies to none of the photos that were judged")
    frame = pd.DataFrame(rows)
    lead = next(kind for kind in ANSWERS if kind in set(frame["answers"]))
    order = frame[frame["answers"] == lead].sort_values("value", ascending=False)["method"]
    place = {method: k for k, method in enumerate(order)}
    return frame.sort_values(
        "method", key=lambda names: names.map(place), kind="stable", ignore_index=True
    )


def table_of(found: Truth, answers: str, every: bool = False) -> pd.DataFrame:
    """One kind of answers as the table that people read: a row for each method, figures with their
    intervals as text. Raises KeyError where no photo of that kind was judged."""
    shown = {row.about for row in found.rows if every or not row.method.startswith("account-")}
    shown |= {row.about for row in found.rows if row.method.startswith(SHORT)}
    table = truth_table(found, answers)
    rows = []
    for (about,), result in table.rows:
        if about in shown:
            cells = {
                column: (f"{one.value:.2f} ({one.low:.2f} to {one.high:.2f})" if one.n else "–")
                for column in table.columns
                if (one := result.figures[column])
            }
            rows.append({"method": about, **cells})
    return pd.DataFrame(rows)


def notes_of(found: Truth, answers: str) -> list[str]:
    """What is said below the table."""
    return list(truth_table(found, answers).notes)


def arguments(run: Run, root: Path, layer: str, by: str = "", photos: int = MOST) -> list[str]:
    """After ``python -m core``: what finds it out, on the photos that are usually judged.

    by : how concepts are taken out (:func:`ways`), "" for the usual way. photos : at most so many
    wrong and so many right answers.
    """
    splits = run.sql("SELECT DISTINCT split FROM images ORDER BY split")["split"].tolist()
    judged = judged_split(splits)
    asked = ["truth", run.digest, *(["--split", judged] if judged else [])]
    # The last layer is what is asked where none is named: the same question, the same answer.
    asked += ["--layer", layer] if layer != run.layer_names[-1] else []
    asked += ["--by", by] if by else []
    asked += ["--photos", str(photos)] if photos != MOST else []
    return [*asked, "--out", str(root), "--json"]


def ways(run: Run) -> dict[str, str]:
    """Ways of taking concepts out of a run's photos → what they are, the usual one first."""
    from core.attribution.fillings import FILLINGS, REDRAWN, STAND_IN

    told = {row.name: row.about for row in FILLINGS}
    if can_edit(run):
        return {REDRAWN: "the photo drawn again without the object"} | told
    return {STAND_IN: told.pop(STAND_IN)} | told


STEPS = {"truth": "Holding every method against the truth"}
"""Stages of the job → what they do."""

NAMES = {
    "rank": "Rank correlation",
    "top": "Top concept right",
    "sign": "Sign right",
    "deletion": "Deletion",
    "preservation": "Preservation",
    "target": "Target sensitivity",
    "distraction": "Distractibility",
}
"""Figures → what a choice calls them."""
