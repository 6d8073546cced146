"""Edits: units of a layer whose maps are multiplied by a factor or clamped to a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.foundation.errors import UnitscopeError


@dataclass(frozen=True)
class Edit:
    """A change of some units: their maps are multiplied by `factor`, or set to `clamp`.

    The default disables them. ``Edit((3,), clamp=2.0)`` holds unit 3 at 2 everywhere.
    """

    units: tuple[int, ...]
    factor: float = 0.0
    clamp: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(int(u) for u in self.units))
        if len(set(self.units)) != len(self.units):
            raise UnitscopeError("a unit is named twice in one edit")
        for name, value in (("factor", self.factor), ("clamp", self.clamp)):
            if value is not None and not np.isfinite(value):
                raise UnitscopeError(f"{name} must be a finite number, not {value}")
        if self.clamp is not None and self.factor != 0.0:
            raise UnitscopeError("a unit is either scaled by a factor or clamped to a value")

    def words(self) -> str:
        """``3 units disabled``, and the like.

        >>> Edit((1, 2)).words(), Edit((1,), 0.5).words(), Edit((1,), clamp=2).words()
        ('2 units disabled', '1 unit multiplied by 0.5', '1 unit clamped to 2')
        """
        count = f"{len(self.units)} unit{'' if len(self.units) == 1 else 's'}"
        if self.clamp is not None:
            return f"{count} clamped to {self.clamp:g}"
        return f"{count} multiplied by {self.factor:g}" if self.factor else f"{count} disabled"


Edits = Edit | Sequence[Edit]


def as_edits(edits: Edits) -> list[Edit]:
    """One edit or several of different units, as a list; raises where a unit is in two."""
    listed = [edits] if isinstance(edits, Edit) else list(edits)
    named = [u for edit in listed for u in edit.units]
    if len(set(named)) != len(named):
        raise UnitscopeError("a unit is changed by two edits")
    return listed


class Change(NamedTuple):
    """Edits as numbers: the map of unit t becomes scale_t·map + shift_t.

    scale, shift : float32 (units,), or (images, units) where images differ.
    """

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, edits: Edits, units: int) -> Change:
        """Raises where a unit does not exist among `units`."""
        scale, shift = cls.nothing(units)
        for edit in as_edits(edits):
            wrong = [u for u in edit.units if not 0 <= u < units]
            if wrong:
                raise UnitscopeError(
                    f"there is no unit {', '.join(map(str, wrong))}: the layer has units 0 to "
                    f"{units - 1}"
                )
            at = list(edit.units)
            scale[at] = 0.0 if edit.clamp is not None else edit.factor
            shift[at] = edit.clamp or 0.0
        return cls(scale, shift)

    @classmethod
    def nothing(cls, shape: int | tuple[int, int]) -> Change:
        """No change of so many units, or of (images, units)."""
        return cls(np.ones(shape, np.float32), np.zeros(shape, np.float32))

    @property
    def touched(self) -> np.ndarray:
        """Units that are changed at all, ascending."""
        moved = (self.scale != 1) | (self.shift != 0)
        return np.flatnonzero(moved if moved.ndim == 1 else moved.any(0))


def kind_of(scale: float, shift: float) -> tuple[str, float]:
    """(kind of edit, its strength) of a map that becomes scale·map + shift.

    A head that is linear only within bounds (a ReLU or a clip behind the average) passes some
    kinds and fails others, so each is compared with a forward hook for itself.

    >>> kind_of(0, 0), kind_of(0.5, 0), kind_of(3, 0)
    (('disabled', 0.0), ('multiplied by less than 1', 0.0), ('multiplied by more than 1', 3))
    >>> kind_of(-2, 0), kind_of(0, 4), kind_of(0, -5)
    (('multiplied by a negative factor', 2), ('clamped high', 4), ('clamped low', 5))
    """
    if scale == 0:
        if shift == 0:
            return "disabled", 0.0
        return ("clamped high" if shift > 0 else "clamped low"), abs(shift)
    if scale < 0:
        return "multiplied by a negative factor", -scale
    if scale > 1:
        return "multiplied by more than 1", scale
    return ("unedited" if scale == 1 else "multiplied by less than 1"), 0.0
