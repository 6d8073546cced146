"""The result of checking a strategy for logits after an edit against the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from core.foundation.plain import Json

METHODS = ("closed form", "replayed tail", "whole forward")
"""By which the logits after an edit are known (:mod:`core.ablation.strategies`)."""

CLOSED_FORM, REPLAYED_TAIL, WHOLE_FORWARD = METHODS


@dataclass(frozen=True)
class Check:
    """How a method was decided on.

    Attributes
    ----------
    agreement : largest difference between it and a forward hook that changes the layer, on a few
        stored photos, as a share of the largest logit.
    why : in words.
    recorded : the same difference between its unedited logits and the recorded ones, on all
        images; in closed form from the start, otherwise once all were replayed, None before.
    flipped : images whose unedited prediction is not the recorded one; None before.
    photos : ``dataset`` or ``stored``, those the whole network runs on; None for other methods.
    probes : kind of edit → the agreement of the closed form for it; None without a linear head.
    """

    agreement: float = 0.0
    why: str = ""
    recorded: float | None = None
    flipped: int | None = None
    photos: str | None = None
    probes: Mapping[str, float] | None = None

    def to_json(self) -> Json:
        """Plain data, without what is not known.

        >>> Check(0.0, "the network runs whole", photos="stored").to_json()
        {'agreement': 0.0, 'why': 'the network runs whole', 'photos': 'stored'}
        """
        return {key: value for key, value in asdict(self).items() if value is not None}
