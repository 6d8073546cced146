"""Photos that a run loses: counted as photos, not as notices, and with the reason.

A notice (a row of the table `skipped`) is of a file or a row. A photo is lost where it has a notice
and is not among the images used. Where more than :data:`MOST_LOST` of the photos are lost, most
likely a table or a folder is wrong, so the run stops and asks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

from core.datasets.base import Problem
from core.foundation.errors import UnitscopeError
from core.runs.run_file import Run

MOST_LOST = 0.2
"""Share of photos that may be lost without being asked."""

LOSS = "--allow-loss"
"""The option of a run that allows more."""


class Losses(NamedTuple):
    """What became of the photos. used, lost : photos. reasons : why, the commonest first, with how
    many photos. notices : all that was noted, of files and rows too."""

    used: int
    lost: int
    reasons: tuple[tuple[str, int], ...]
    notices: int

    @property
    def share(self) -> float:
        """Of the photos, those that are lost."""
        return self.lost / max(1, self.used + self.lost)

    @property
    def words(self) -> str:
        """In a line, "" where none is lost.

        >>> Losses(4, 17, (("label value 1 is unknown", 17),), 19).words
        '4 of 21 photos used: label value 1 is unknown (17)'
        """
        if not self.lost:
            return ""
        said = "; ".join(f"{reason} ({count})" for reason, count in self.reasons[:2])
        more = sum(count for _, count in self.reasons[2:])
        return f"{self.used:,} of {self.used + self.lost:,} photos used: {said}" + (
            f"; other reasons ({more})" if more else ""
        )


def counted(problems: Iterable[Problem], used: int, kept: Collection[str]) -> Losses:
    """Losses by notices: the photos with a notice, each by its first, that are not in `kept`."""
    problems = list(problems)
    first: dict[str, str] = {}
    for one in problems:
        if one.image and one.image not in kept:
            first.setdefault(one.image, one.reason)
    reasons = Counter(first.values()).most_common()
    return Losses(used, len(first), tuple(reasons), len(problems))


def losses(run: Run) -> Losses:
    """Photos that a finished run lost. With a choice of splits, those alone that were asked for and
    could not be read: of which split the others were, nobody knows."""
    rows = [Problem(*row) for row in run.sql("SELECT id, file, reason FROM skipped").to_numpy()]
    notices, asked = len(rows), run.image_count
    if run.settings.splits:
        # Photos that could not be read come last, one notice each.
        rows = rows[notices - (asked.planned - asked.used) :]
    kept = set(run.sql("SELECT id FROM images")["id"])
    return counted(rows, asked.used, kept)._replace(notices=notices)


class TooManyLost(UnitscopeError):
    """More photos are lost than a run loses without being asked."""


def need_few(found: Losses) -> None:
    """Raise :class:`TooManyLost` where more than :data:`MOST_LOST` of the photos are lost."""
    if found.share > MOST_LOST:
        raise TooManyLost(
            f"only {found.words}. More than {MOST_LOST:.0%} are lost: `datasets check` lists every "
            f"problem; {LOSS} goes on with the photos that can be used"
        )
