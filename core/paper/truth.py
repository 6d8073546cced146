"""The table of the test of truth: how every attribution method fares."""

from __future__ import annotations

from core.attribution.judged import ANSWERS, FIGURES, Truth
from core.explain.metrics import Explained
from core.paper.tables import Table

HEADS = {
    "rank": "rank",
    "top": "top",
    "sign": "sign",
    "deletion": "deletion",
    "preservation": "preserv.",
    "target": "target",
    "distraction": "distract.",
}
"""Figures of :data:`core.attribution.judged.FIGURES` → what stands above their columns."""

MEANING = (
    "Hundredfold, over photos, with 95 % intervals; chance: importances drawn at random. rank: "
    "Spearman's correlation with the true effects within a photo; top: the concept put first has "
    "the largest effect; sign: effects whose sign is said; deletion: the answer changes without "
    "the concept put first; preserv.: it stays without the less important half; target: each of "
    "two scenes is given what truly sets it off; distract.: what does nothing is given less than "
    "what does much."
)


def truth_table(found: Truth, answers: str = "wrong") -> Table:
    """One kind of answers as a table, a row for each method, in the order of the registry.

    Raises KeyError where no photo of that kind was judged.
    """
    rows: list[tuple[tuple[str, ...], Explained]] = [
        (
            (row.about,),
            Explained({HEADS[name]: row.figures[name] for name in FIGURES}, {}),
        )
        for row in found.rows
        if row.answers == answers
    ]
    if not rows:
        raise KeyError(answers)
    best, background = found.best[answers], found.background[answers]
    notes = [
        MEANING,
        f"{found.photos[answers]} photos with {found.concepts[answers]:.1f} concepts each; of the "
        "split are left out: "
        + ("; ".join(f"{n} {why}" for why, n in found.left_out.items() if n) or "none")
        + ".",
        f"In {100 * best.value:.0f} % [{100 * best.low:.0f}–{100 * best.high:.0f}] of them some "
        "single removal changes the answer: as far as deletion can reach. Background "
        f"independence: {100 * background.value:.0f} % [{100 * background.low:.0f}–"
        f"{100 * background.high:.0f}] of the concepts that are not core hardly bear on the "
        "answer's logit.",
        *(f"{name} is not judged: {why}." for name, why in found.not_judged.items()),
    ]
    return Table(
        f"How true is each attribution method, on {answers} answers "
        f"({found.asked.split or 'all splits'})? The truth: {truth_words(found.by)}",
        ("says how much each concept matters",),
        tuple(HEADS[name] for name in FIGURES),
        rows,
        notes,
    )


def truth_words(by: str) -> str:
    """What stands for the truth, in words.

    >>> truth_words("inpaint")
    'each concept taken out by the filling inpaint, which stands in for its absence'
    """
    if by == "redrawn":
        return "the photo drawn again without each object"
    return f"each concept taken out by the filling {by}, which stands in for its absence"


def truth_tables(found: Truth) -> dict[str, Table]:
    """Kind of answers → its table, of those with photos."""
    return {kind: truth_table(found, kind) for kind in ANSWERS if found.photos.get(kind)}
