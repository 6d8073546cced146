"""A logical formula of concepts, and how it is written.

Apart from the search of :mod:`core.dissect.formulas`, so that what only shows formulas does
not load its compiler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

OR, AND, NOT = 1, 2, 3
WORDS = {OR: "OR", AND: "AND", NOT: "AND NOT"}


class Formula(NamedTuple):
    """A left-deep formula: `concepts` (ids) joined from the left by `ops`.

    ops[0] is 0, the rest are OR, AND or NOT (for AND NOT).

    >>> Formula((3, 1, 2), (0, OR, NOT)).words(["", "bed", "wall", "lamp"])
    '(lamp OR bed) AND NOT wall'
    """

    concepts: tuple[int, ...]
    ops: tuple[int, ...] = (0,)

    def then(self, op: int, concept: int) -> Formula:
        """This formula joined with one more concept."""
        return Formula((*self.concepts, concept), (*self.ops, op))

    @property
    def length(self) -> int:
        """Number of concepts."""
        return len(self.concepts)

    @property
    def cost(self) -> int:
        """CEN's length, which its penalty counts: concepts, and one for each NOT."""
        return len(self.concepts) + self.ops.count(NOT)

    def words(self, names: Sequence[str]) -> str:
        """The formula in words, with parentheses where two operators meet."""
        text = names[self.concepts[0]]
        for k in range(1, len(self.concepts)):
            if k > 1 and (self.ops[k] == OR) != (self.ops[k - 1] == OR):
                text = f"({text})"
            text += f" {WORDS[self.ops[k]]} {names[self.concepts[k]]}"
        return text

    def key(self) -> tuple[tuple[int, ...], ...]:
        """One key for all spellings of it by exchanging neighbours of one kind.

        `a OR b` and `b OR a` share a key, and so do `a AND b AND NOT c` and
        `a AND NOT c AND b`.

        >>> Formula((1, 2), (0, OR)).key() == Formula((2, 1), (0, OR)).key()
        True
        """
        # Runs of ORs and runs of ANDs; within a run the order does not matter. AND NOT is
        # distinguished from AND by the sign. The first concept belongs to the first run.
        runs: list[tuple[int, list[int]]] = []
        for op, concept in zip(self.ops[1:], self.concepts[1:], strict=True):
            kind = OR if op == OR else AND
            if not runs or runs[-1][0] != kind:
                runs.append((kind, []))
            runs[-1][1].append(-concept if op == NOT else concept)
        if not runs:
            return ((0, self.concepts[0]),)
        runs[0][1].append(self.concepts[0])
        return tuple((kind, *sorted(set(members))) for kind, members in runs)
