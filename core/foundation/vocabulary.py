"""The paper's terms, each defined once: as written in code, files and addresses, and as shown to
people.

A term is a string, so that it compares, sorts and is stored as what files and addresses hold; it
also has a ``short`` label (tables, legends), a ``meaning`` and a ``long`` label of both (choices).

>>> Core("icc").short, Core.ICC == "icc", f"{Core.ICC}"
('ICC', True, 'icc')
>>> Strategy.of("minmax")
Traceback (most recent call last):
core.foundation.errors.UnitscopeError: unknown concept selection strategy 'minmax'; nearest: \
minmax_threshold (of 3)
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from core.foundation.errors import unknown


class Term(StrEnum):
    """One term of a closed list; see the module. The docstring's first line names the list."""

    short: str
    meaning: str

    def __new__(cls, value: str, short: str, meaning: str = "") -> Self:
        term = str.__new__(cls, value)
        term._value_ = value
        term.short, term.meaning = short, meaning
        return term

    @property
    def long(self) -> str:
        """Short label and meaning."""
        return f"{self.short}: {self.meaning}" if self.meaning else self.short

    @classmethod
    def of(cls, value: str) -> Self:
        """The term that a file, an address or a person wrote; raises with the nearest ones."""
        for term in cls:
            if term.value == value:
                return term
        raise unknown(cls.called(), value, list(cls))

    @classmethod
    def called(cls) -> str:
        """What the list is a list of, as messages say it."""
        name = (cls.__doc__ or cls.__name__).splitlines()[0].rstrip(".")
        return name[0].lower() + name[1:]

    def __repr__(self) -> str:
        return repr(self.value)

    @classmethod
    def longs(cls, first: str = "") -> dict[str, str]:
        """Term → long label, for a choice; `first` is offered first."""
        terms = sorted(cls, key=lambda term: term.value != first) if first else cls
        return {term.value: term.long for term in terms}

    @classmethod
    def shorts(cls) -> dict[str, str]:
        """Term → short label, for a table or a legend."""
        return {term.value: term.short for term in cls}


class Core(Term):
    """Kind of core concepts.

    In the order of the paper's Table 1; Eqs. 1 and 2 define SCC and ICC, Top 10 is its control.
    """

    TOP10 = "top10", "Top 10", "the ten most frequent concepts of the scene’s photos"
    SCC = "scc", "SCC", "related by facts and present in the scene’s photos"
    ICC = "icc", "ICC", "related or frequent, and telling the scene apart"


class Strategy(Term):
    """Concept selection strategy.

    In the paper's order: which concepts a unit has learned of a photo (LC).
    """

    WHOLE_LAYER = "whole_layer", "Whole layer", "every concept that a unit overlaps at all"
    HIGHEST_IOU = "highest_iou", "Highest IoU", "each unit’s concept of highest IoU"
    MINMAX_THRESHOLD = (
        "minmax_threshold",
        "Threshold",
        "concepts whose IoU exceeds the smallest of all units’ highest (MinMax)",
    )


class Eq2(Term):
    """Reading of the IoU.

    Within a photo (Eq. 2), or divided by the union over the dataset, as in the paper's sample.
    """

    IMAGE = "image", "per image", "IoU within the photo"
    DATASET = "dataset_normalised", "whole dataset", "overlap within the photo, union over the set"


class Denominator(Term):
    """IoU denominator.

    Which pixels count in the union of a unit's label.
    """

    ALL = "all", "all pixels", "every pixel counts"
    ANNOTATED = "annotated", "annotated pixels", "only annotated pixels count"


class Sign(Term):
    """Sign of the contribution score (Eq. 9).

    Positive units support a scene, negative ones speak against it.
    """

    POSITIVE = "positive", "positive", "highest contribution scores"
    NEGATIVE = "negative", "negative", "lowest contribution scores"


class Standing(Term):
    """Standing of a concept towards a scene, in one photo.

    Core: one of its core concepts. Used: its measured effect speaks for the scene, beyond what
    regions elsewhere do.
    """

    CORE_USED = "core_used", "core and used", "a core concept, and the prediction rests on it"
    CORE_UNUSED = "core_unused", "core and unused", "a core concept, without effect"
    SHORTCUT = (
        "shortcut",
        "used and not core",
        "a shortcut: the prediction rests on it all the same",
    )
    NEITHER = "neither", "neither", "not core, and without effect"
    CORE_UNTESTED = "core_untested", "core, not tested", "no regions elsewhere to compare it with"
    UNTESTED = "untested", "not tested", "no regions elsewhere to compare it with"


class SceneStanding(Term):
    """Standing of a concept in a scene.

    What measurement and knowledge say together, over all photos of the scene: does it carry a share
    of the scene's lead beyond what regions elsewhere do, and is it a core concept?
    """

    CORE = "relied on and core", "relied on and core"
    SHORTCUT = "relied on though not core", "relied on though not core"
    IGNORED = "core but ignored", "core but ignored"
    AGAINST = "speaks against the scene", "speaks against the scene"
    UNSURE = "core, too little known", "core, too little known"
    NONE = "neither", "neither"


class Over(Term):
    """Images summed over in Eq. 9.

    Rightly predicted ones as published, wrongly predicted ones, or both.
    """

    TRUE = "true", "true predictions", "photos of the scene that are predicted right (as published)"
    FALSE = "false", "false predictions", "photos of the scene that are predicted wrong"
    ALL = "all", "all photos", "all photos of the scene"


class Protocol(Term):
    """Protocol of ablation.

    Which units are disabled for which image.
    """

    PAPER = "paper", "the paper’s", "by the true scene of each image: an oracle"
    BY_PREDICTED = "by_predicted_scene", "by predicted scene", "needs no true scene"
    GLOBAL = "global", "global", "the same units for every image"


class Ranking(Term):
    """Ranking of units.

    By core concepts (Eq. 9), by the head, and controls.
    """

    SCC = "scc", "SCC", "contribution scores by SCC"
    ICC = "icc", "ICC", "contribution scores by ICC"
    TOP10 = "top10", "Top 10", "contribution scores by the ten most frequent concepts"
    RANDOM = "random", "random units", "drawn anew each time"
    ACTIVATION = "mean_activation", "mean activation", "by mean pooled activation"
    WEIGHT = "weight", "|weight|", "by the head’s weight of the scene"
    GRADIENT = "gradient_activation", "gradient × activation", "by their share of the logit"
    GREEDY = "greedy", "greedy", "each next unit by the accuracy that it gains"


class Golden(Term):
    """Golden concepts c* of Eq. 10.

    Those of a photo's annotation that the concept loss asks for; the last two are controls.
    """

    SCC = "scc", "SCC", "annotated in the photo and in SCC of its scene"
    ICC = "icc", "ICC", "annotated in the photo and in ICC of its scene"
    TOP10 = "top10", "Top 10", "annotated in the photo and among the ten most frequent of its scene"
    ANNOTATED = (
        "annotated",
        "all annotated",
        "all that is annotated in the photo: the masks without the knowledge graph",
    )


LEARNING, JUDGING = ("train", "training"), ("test", "val", "validation")
"""Names of the splits that something is fitted on, and of those that it is judged by, the first
that a run has being taken: on validation photos only where there are no test photos."""
