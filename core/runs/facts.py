"""What a run file says of itself, read with types: ``run.settings.precision``.

The table `meta` holds JSON that may come from a stranger or from another version. Each property
reads one entry, so that an old run without it opens, and raises
:class:`~core.foundation.errors.Damaged` only where that entry is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.plain import Json


class Facts(Json):
    """An object of the table `meta`; an entry that is missing is a mistake in the file, not in the
    program."""

    def __missing__(self, key: str) -> Any:
        raise Damaged(
            f"its table `meta` has no {key!r}: it was written by another version, or is damaged"
        )


@dataclass(frozen=True)
class Source:
    """The dataset or the network of a run.

    Attributes
    ----------
    spec : as it was named. digest : of its content.
    code : digest of the source text of a ``python:`` SPEC; None for others.
    labels_by : of a dataset, the network whose predictions its labels are; empty for people's.
    """

    spec: str
    digest: str
    code: str | None = None
    labels_by: str = ""

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Source:
        """From the entry `dataset` or `model` of a run's settings."""
        return cls(facts["spec"], facts["digest"], facts.get("code"), facts.get("labels_by", ""))


class RunSettings:
    """The settings that decided a run's numbers (entry `settings` of the table `meta`)."""

    def __init__(self, facts: Mapping[str, Any]):
        self._facts = facts

    @property
    def dataset(self) -> Source:
        """The dataset."""
        return Source.of(self._facts["dataset"])

    @property
    def model(self) -> Source:
        """The network."""
        return Source.of(self._facts["model"])

    @property
    def has_grid(self) -> bool:
        """Whether photos were dissected; otherwise the run holds published predictions alone."""
        return bool(self._facts.get("grid"))

    @property
    def grid(self) -> tuple[int, int]:
        """(width, height) of the working grid. Raises UnitscopeError where there is none."""
        if not self.has_grid:
            raise UnitscopeError("the run has no working grid: it holds predictions alone")
        width, height = self._facts["grid"]
        return int(width), int(height)

    @property
    def q(self) -> float | None:
        """T_t is the (1 − q) quantile of a unit's activations; None of predictions alone."""
        q = self._facts["q"]
        return None if q is None else float(q)

    @property
    def splits(self) -> Sequence[str]:
        """Splits that were dissected; empty = all images."""
        return list(self._facts.get("splits") or ())

    @property
    def shuffles(self) -> int | None:
        """Rounds of exchanged masks; None in runs from before there were any."""
        rounds = self._facts.get("shuffles")
        return None if rounds is None else int(rounds)

    @property
    def keep_maps(self) -> bool:
        """Whether the activation maps lie beside the run."""
        return bool(self._facts.get("keep_maps"))

    @property
    def map_type(self) -> str:
        """float16 or float32, in which activations were recorded."""
        return str(self._facts["map_type"])

    @property
    def precision(self) -> str:
        """float32 or bfloat16, in which the network ran."""
        return str(self._facts["precision"])

    @property
    def batch(self) -> int:
        """Images that went through the network at once."""
        return int(self._facts["batch"])

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """The steps from a photo to the network's input, as
        :meth:`core.foundation.geometry.Preprocessing.to_json` gives them."""
        steps: Mapping[str, Any] = self._facts["preprocessing"]
        return steps

    @property
    def versions(self) -> Mapping[str, int] | None:
        """Versions of the computations that made the run; None from before there were any."""
        return self._facts.get("versions")


@dataclass(frozen=True)
class ImageCount:
    """Images that were asked for, and those that could be used."""

    planned: int
    used: int


@dataclass(frozen=True)
class Accuracy:
    """How often the network is right (entry `accuracy` of the table `meta`).

    Attributes
    ----------
    scored : images with a scene that is a class. right : those with that prediction.
    unmatched_scenes : scenes that are no class of the network.
    """

    scored: int
    right: int
    unmatched_scenes: Sequence[str]

    @property
    def share(self) -> float | None:
        """right / scored; None of none."""
        return self.right / self.scored if self.scored else None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Accuracy:
        """From the entry `accuracy`."""
        return cls(facts["scored"], facts["right"], facts["unmatched_scenes"])
