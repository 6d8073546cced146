"""What caused an answer: every annotated concept of a photo by its measured effect, with evidence
beside it, and what knowledge says of it.

Two classes are held against each other, a and b: the network's answer and the true scene, or any
other pair. For every concept c

- the **measured effect** Δ(c) on the margin z_a − z_b (:mod:`core.attribution.effects`), its mean
  over the fillings, the least and the largest of them;
- the **control band**: from the least to the largest effect of regions of the same shape and size
  laid elsewhere in the photo, each a mean over the same fillings;
- the **evidence**: its part of the margin, as a sum (:mod:`core.attribution.evidence`).

A concept is *used for a* where Δ(c) is positive and above its band, *used for b* where Δ(c) is
negative and below it. A region that matters no more than those of its band lies above it by chance
once in n + 1 cases (n: regions of the band).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np
from scipy.stats import spearmanr

from core.attribution.case import Case
from core.attribution.effects import (
    CONTROLS,
    Effects,
    elsewhere,
    margin_of,
    measure,
    measure_elsewhere,
    widened,
)
from core.attribution.evidence import Evidence, Split, evidence, split_by
from core.attribution.fillings import USUAL
from core.explain.account import listed, scene_row
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.vocabulary import Standing
from core.knowledge.core_concepts import CoreConcepts

CATEGORIES = ("object", "part", "material")
"""In this order causes are listed; another category comes after them."""

UNITS = 5
"""Units named with each cause."""

NAMED = 3
"""Concepts that the sentence names."""

SLIGHT = 0.1
"""Evidence below this share of the largest is too slight to contradict a measured effect."""


@dataclass(frozen=True)
class Question:
    """What is asked of a photo.

    Attributes
    ----------
    answer : class a; the network's answer where None.
    against : class b; where None, :attr:`core.attribution.case.Case.against` of the network's
        answer, and the network's answer for any other class.
    fillings : how concepts are taken away. controls : regions of a band.
    tested : so many concepts get a band, those of the largest effect; all where None.
    categories : of the concepts; where empty objects alone, or all where the photo has none.
    seed : of the places of the regions elsewhere, and of noise.
    """

    answer: str | None = None
    against: str | None = None
    fillings: tuple[str, ...] = USUAL
    controls: int = CONTROLS
    tested: int | None = None
    categories: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class UnitShare:
    """A unit's part of the evidence from a concept."""

    unit: int
    evidence: float


@dataclass(frozen=True)
class Removed:
    """What the network answers without a concept.

    Attributes
    ----------
    answer : class that most fillings give; among equals the one of the larger mean logit.
    agree : so many of the fillings give it.
    change : ``mends`` a wrong answer, ``breaks`` a right one, ``changes`` it otherwise, or "".
    """

    answer: str
    agree: int
    change: str


@dataclass(frozen=True)
class Cause:
    """One annotated concept of the photo, and what it did to the margin.

    Attributes
    ----------
    concept : id in the run. name, category : of it. area : share of the photo.
    effect, least, most : Δ(c), its mean over the fillings and the range over them.
    band : least and largest effect of the regions elsewhere; None where none was measured.
    no_band : why there is none, "" where there is one.
    evidence : its part of the margin. units : that carry most of it.
    removed : the answer without it.
    standing_answer, standing_against : towards either class (:class:`Standing`); None where the
        class is no scene that has core concepts.
    contradicts : how evidence and measured effect disagree, in words; "" where they do not.
    """

    concept: int
    name: str
    category: str
    area: float
    effect: float
    least: float
    most: float
    band: tuple[float, float] | None
    no_band: str
    evidence: float
    units: tuple[UnitShare, ...]
    removed: Removed
    standing_answer: Standing | None
    standing_against: Standing | None
    contradicts: str

    @property
    def outside(self) -> bool | None:
        """Does the effect lie outside the band? None where there is no band."""
        return None if self.band is None else not self.band[0] <= self.effect <= self.band[1]

    @property
    def speaks(self) -> int:
        """1 for what is used for a, −1 for what is used for b, 0 for what is not, or not tested."""
        if self.band is None:
            return 0
        return int(self.effect > max(0.0, self.band[1])) - int(self.effect < min(0.0, self.band[0]))


@dataclass(frozen=True)
class Member:
    """A core concept. present : is it annotated in this photo?"""

    name: str
    category: str
    present: bool


@dataclass(frozen=True)
class SceneCore:
    """One of the two classes as a scene.

    scene : of the dataset; None where the class is none. core : its core concepts, of all
    categories.
    """

    name: str
    scene: str | None
    core: tuple[Member, ...]

    @property
    def absent(self) -> tuple[Member, ...]:
        """Core concepts that are not in the photo."""
        return tuple(one for one in self.core if not one.present)


@dataclass(frozen=True)
class Sum:
    """The margin as a sum over one category: concepts + rest + beside + bias + gap.

    concepts : evidence from all its concepts. rest : from what none of them covers.
    """

    category: str
    concepts: float
    rest: float


@dataclass(frozen=True)
class Causes:
    """What caused one answer.

    Attributes
    ----------
    image, split : of the photo. predicted : the network's answer. target : the true scene's class,
        None where it is none. correct : None where that is not known. confidence : softmax.
    answer, against : classes a and b. margin : z_a − z_b, of logits.
    question : as it was asked. layer : of the evidence. evidence_kind : how evidence was found.
    beside, bias, gap : parts of the margin that lie at no place (class tokens; the head's bias),
        and what the sum does not account for. sums : by category.
    rows : causes; objects first, by their rank (:func:`importance`) within a category.
    core_kind : of core concepts. sides : a and b as scenes.
    agreement : Spearman's ρ of evidence and measured effect over the rows; None for fewer than 3.
    disagreement : in words, "" where nothing is to be said.
    sentence : the causes in plain words.
    """

    image: str
    split: str
    predicted: str
    target: str | None
    correct: bool | None
    confidence: float
    answer: str
    against: str
    margin: float
    question: Question
    layer: str
    evidence_kind: str
    beside: float
    bias: float
    gap: float
    sums: tuple[Sum, ...]
    rows: tuple[Cause, ...]
    core_kind: str
    sides: tuple[SceneCore, SceneCore]
    agreement: float | None
    disagreement: str
    sentence: str = field(default="")

    def to_json(self) -> Json:
        """Plain data for files: all the attributes, and `outside` and `speaks` of every row."""
        plain = asdict(self)
        plain["sides"] = list(plain["sides"])
        for given, row in zip(plain["rows"], self.rows, strict=True):
            given |= {"outside": row.outside, "speaks": row.speaks}
        return plain


def importance(effect: np.ndarray, _evidence: np.ndarray, _area: np.ndarray) -> np.ndarray:
    """float64 (concepts,): by what causes are ranked, the largest first. The one place where the
    recipe is: the measured effect, a mean over the fillings, agrees best with drawing the photo
    again without the concept (docs/truth.md)."""
    return effect


def causes(case: Case, core: CoreConcepts, question: Question | None = None) -> Causes:
    """What caused the answer to one photo.

    core : core concepts of the run's scenes, of any kind.

    Raises UnitscopeError for an unknown class, category or filling, for a class against itself,
    and where the photo has no concept of the categories.
    """
    question = question or Question()
    a, b = _pair(case, question)
    rows = _chosen(case, question.categories)
    found = _measured(case, rows, question, (a, b))
    margin = evidence(case, a, b)
    splits = split_by(case, margin)
    credit, units = _credit(case, splits)
    sides = (_side(case, core, a), _side(case, core, b))
    members = [_members(core, side.scene) for side in sides]
    effect, spread = found.margin(a, b), found.spread(a, b)
    control = found.control(a, b) if found.controls.shape[2] else np.full((len(rows), 1), np.nan)
    least = np.abs(effect[~np.isnan(control).all(1)]).min(initial=np.inf)
    made = []
    for k, row in enumerate(rows):
        large = question.tested is None or abs(effect[k]) >= least
        one = Cause(
            int(case.regions.ids[row]),
            case.regions.names[row],
            case.regions.categories[row],
            float(case.regions.area[row]),
            float(effect[k]),
            float(spread[k, 0]),
            float(spread[k, 1]),
            *_band(control[k], question, large),
            float(credit[row]),
            units[row],
            _removed(case, found, k),
            None,
            None,
            "",
        )
        here = [
            None if held is None else _standing(one, int(one.concept) in held, sign)
            for held, sign in zip(members, (1, -1), strict=True)
        ]
        made.append(replace(one, standing_answer=here[0], standing_against=here[1]))
    made = _contradicted(made)
    order = importance(effect, credit[rows], case.regions.area[rows])
    return _told(case, question, (a, b), margin, splits, _listed(made, order), core.kind, sides)


def _pair(case: Case, question: Question) -> tuple[int, int]:
    """Classes a and b of a question."""
    opened = case.opened
    a = case.predicted if question.answer is None else opened.class_of(question.answer)
    if question.against is not None:
        b = opened.class_of(question.against)
    else:
        b = case.against if a == case.predicted else case.predicted
    if a == b:
        raise UnitscopeError(f"{opened.classes[a]!r} cannot be held against itself")
    return a, b


def _chosen(case: Case, categories: Sequence[str]) -> list[int]:
    """Rows of the photo's regions that are asked about."""
    known = case.opened.run.sql("SELECT DISTINCT category FROM concepts ORDER BY 1")["category"]
    for category in categories:
        if category not in set(known):
            raise unknown("category of concepts", category, known)
    here = case.regions.categories
    wanted = set(categories) or ({"object"} if "object" in here else set(here))
    rows = [row for row, category in enumerate(here) if category in wanted]
    if not rows:
        raise UnitscopeError(
            f"nothing of category {' or '.join(sorted(wanted))} is annotated in this photo; there "
            f"is {', '.join(sorted(set(here)))}"
        )
    return rows


def _measured(case: Case, rows: list[int], question: Question, pair: tuple[int, int]) -> Effects:
    """Effects of some rows, with bands of those of the largest effect alone: the regions
    elsewhere are nearly all that has to be run."""
    found = measure(_of_rows(case, rows), question.fillings, 0, question.seed)
    controls, count = question.controls, len(rows)
    shape = (len(found.fillings), count, controls, len(found.before))
    found = replace(found, controls=np.full(shape, np.nan, np.float32))
    margin, top = margin_of(case), list[int]()
    for k in np.argsort(-np.abs(found.margin(*pair)), kind="stable") if controls else ():
        rng = np.random.default_rng([question.seed, case.image])
        if elsewhere(widened(case.regions.masks[rows[k]], margin), 1, rng):
            top.append(int(k))
        if question.tested is not None and len(top) >= question.tested:
            break
    if top:
        tested = _of_rows(case, [rows[k] for k in top])
        found.controls[:, top] = measure_elsewhere(
            tested, question.fillings, controls, question.seed
        )
    return found


def _of_rows(case: Case, rows: Sequence[int]) -> Case:
    """The photo with some of its regions alone."""
    return replace(case, regions=case.regions.only(np.asarray(rows)))


def _band(
    control: np.ndarray, question: Question, large: bool
) -> tuple[tuple[float, float] | None, str]:
    """A concept's band, and why there is none."""
    there = control[~np.isnan(control)]
    if len(there):
        return (float(there.min()), float(there.max())), ""
    if not question.controls:
        return None, "no regions elsewhere were asked for"
    return None, "it is too large for a region of its shape elsewhere" if large else (
        f"its effect is not among the {question.tested} largest"
    )


def _credit(case: Case, splits: dict[str, Split]) -> tuple[np.ndarray, list[tuple[UnitShare, ...]]]:
    """Evidence of every region, and the units that carry most of each."""
    credit = np.zeros(len(case.regions))
    units: list[tuple[UnitShare, ...]] = [()] * len(case.regions)
    for split in splits.values():
        credit[split.rows] = split.concepts
        for column, row in enumerate(split.rows):
            mine = split.units[:, column]
            sign = 1 if credit[row] >= 0 else -1
            best = np.argsort(-sign * mine, kind="stable")[:UNITS]
            units[row] = tuple(
                UnitShare(int(u), float(mine[u])) for u in best if sign * mine[u] > 0
            )
    return credit, units


def _removed(case: Case, found: Effects, k: int) -> Removed:
    """The answer without the k-th concept."""
    votes = np.bincount(found.after[:, k].argmax(-1), minlength=found.after.shape[-1])
    mean = found.after[:, k].mean(0, dtype=np.float64)
    answer = int(np.lexsort((mean, votes))[-1])
    agree = int(votes[answer])
    change = ""
    if answer != case.predicted:
        if case.target >= 0 and answer == case.target:
            change = "mends"
        elif case.target == case.predicted:
            change = "breaks"
        else:
            change = "changes"
    return Removed(case.opened.classes[answer], agree, change)


def _standing(cause: Cause, is_core: bool, sign: int) -> Standing:
    """A concept's standing towards a class: `sign` 1 for a, −1 for b."""
    if cause.band is None:
        return Standing.CORE_UNTESTED if is_core else Standing.UNTESTED
    used = cause.speaks == sign
    if is_core:
        return Standing.CORE_USED if used else Standing.CORE_UNUSED
    return Standing.SHORTCUT if used else Standing.NEITHER


def _side(case: Case, core: CoreConcepts, number: int) -> SceneCore:
    """A class as a scene: the photo's own where several scenes are spellings of one class."""
    run, name = case.opened.run, case.opened.classes[number]
    scenes = run.sql(
        "SELECT s.name FROM scenes s LEFT JOIN images i ON i.image = ? AND i.scene = s.scene "
        "WHERE s.class = ? ORDER BY i.image IS NULL, s.scene LIMIT 1",
        [case.image, number],
    )["name"].tolist()
    members = _members(core, scenes[0]) if scenes else None
    if members is None:
        return SceneCore(name, scenes[0] if scenes else None, ())
    areas = run.sql("SELECT concept FROM areas WHERE image = ? AND area > 0", [case.image])
    here = set(areas["concept"])
    core_concepts = tuple(
        Member(core.concepts[c - 1], core.categories[c - 1], c in here) for c in sorted(members)
    )
    return SceneCore(name, scenes[0], core_concepts)


def _members(core: CoreConcepts, scene: str | None) -> set[int] | None:
    """Concept ids of a scene's core concepts; None where it has none."""
    if scene is None:
        return None
    ids = {int(c) + 1 for c in np.flatnonzero(core.members[scene_row(core, scene)])}
    return ids or None


def _listed(made: list[Cause], order: np.ndarray) -> tuple[Cause, ...]:
    """Causes by category and importance."""

    def key(k: int) -> tuple[int, str, float, int]:
        category = made[k].category
        place = CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES)
        return place, category, -float(order[k]), made[k].concept

    return tuple(made[k] for k in sorted(range(len(made)), key=key))


def _contradicted(made: list[Cause]) -> list[Cause]:
    """With what is to be said where evidence and effect have opposite signs, and both count."""
    most = max(abs(one.evidence) for one in made)
    largest = max(abs(one.effect) for one in made)
    causes_of = []
    for one in made:
        counts = one.outside if one.band is not None else abs(one.effect) >= SLIGHT * largest
        if counts and abs(one.evidence) >= SLIGHT * most and one.evidence * one.effect < 0:
            words = f"evidence {signed(one.evidence)}, measured effect {signed(one.effect)}"
            one = replace(one, contradicts=words)
        causes_of.append(one)
    return causes_of


def _told(
    case: Case,
    question: Question,
    pair: tuple[int, int],
    margin: Evidence,
    splits: dict[str, Split],
    rows: tuple[Cause, ...],
    core_kind: str,
    sides: tuple[SceneCore, SceneCore],
) -> Causes:
    recorded, classes = case.opened.recorded, case.opened.classes
    facts = recorded.images.iloc[case.row]
    logits = recorded.logits[case.row].astype(np.float64)
    shares = np.exp(logits - logits.max())
    known = case.target >= 0
    found = Causes(
        str(facts["id"]),
        str(facts["split"]),
        classes[case.predicted],
        classes[case.target] if known else None,
        case.target == case.predicted if known else None,
        float(shares[case.predicted] / shares.sum()),
        classes[pair[0]],
        classes[pair[1]],
        float(case.logits[pair[0]]) - float(case.logits[pair[1]]),
        question,
        recorded.layer,
        margin.kind,
        margin.beside,
        margin.bias,
        margin.gap,
        tuple(
            Sum(category, float(split.concepts.sum()), float(split.rest.sum()))
            for category, split in splits.items()
        ),
        rows,
        core_kind,
        sides,
        _agreement(rows),
        _disagreement(rows),
    )
    return replace(found, sentence=sentence(found))


def _agreement(rows: Sequence[Cause]) -> float | None:
    if len(rows) < 3:
        return None
    rho = float(spearmanr([r.evidence for r in rows], [r.effect for r in rows]).statistic)
    return None if np.isnan(rho) else rho


def _disagreement(rows: Sequence[Cause]) -> str:
    """Where evidence and measured effect disagree, in words."""
    parts = []
    first = max(rows, key=lambda one: one.effect)
    credited = max(rows, key=lambda one: one.evidence)
    if len(rows) > 1 and first.concept != credited.concept:
        parts.append(
            f"By evidence {spoken_concept(credited)} comes first, by measured effect "
            f"{spoken_concept(first)} does."
        )
    opposed = [one for one in rows if one.contradicts]
    if opposed:
        names = listed([spoken_concept(one) for one in opposed], NAMED)
        parts.append(f"They have opposite signs for {names}.")
    return " ".join(parts)


def spoken_concept(cause: Cause | Member) -> str:
    """A concept's name as people read it, with its category where it is no object."""
    name = plain_name(cause.name)
    return name if cause.category == "object" else f"{name} ({cause.category})"


def signed(value: float) -> str:
    """A number with its sign, to two digits where it is small.

    >>> signed(1.234), signed(-0.7), signed(0.043)
    ('+1.2', '−0.7', '+0.04')
    """
    text = f"{abs(value):.1f}" if abs(value) >= 0.095 else f"{abs(value):.2f}"
    return f"{'−' if value < 0 else '+'}{text}"


def sentence(found: Causes) -> str:
    """The causes in plain words, from the facts of :func:`causes` alone."""
    parts = [_opening(found)]
    carry = sorted((r for r in found.rows if r.speaks > 0), key=lambda r: -r.effect)
    oppose = sorted((r for r in found.rows if r.speaks < 0), key=lambda r: r.effect)
    tested = [r for r in found.rows if r.band is not None]
    if carry:
        verb = "carries" if len(carry) == 1 else "carry"
        parts.append(f"{_capital(_numbered(carry))} {verb} it.")
    elif tested:
        parts.append("None that could be tested counts for it by more than regions elsewhere do.")
    top = max((abs(r.effect) for r in [*carry, *oppose]), default=0.0)
    large = [r for r in found.rows if r.band is None and abs(r.effect) > top]
    large = sorted(large, key=lambda r: -abs(r.effect)) if found.question.controls else []
    if large:
        verb = "is" if len(large) == 1 else "are"
        parts.append(
            f"{_capital(_numbered(large))} {verb} too large to be compared with regions elsewhere."
        )
    if oppose:
        verb = "speaks" if len(oppose) == 1 else "speak"
        parts.append(f"{_capital(_numbered(oppose))} {verb} for {plain_name(found.against)}.")
    changed = [r for r in found.rows if r.removed.change]
    if changed:
        one = max(changed, key=lambda r: (r.removed.agree, abs(r.effect)))
        count = len(found.question.fillings)
        way = (
            "measured"
            if one.removed.agree == count
            else (f"measured, by {one.removed.agree} of {count} fillings")
        )
        parts.append(
            f"Without {spoken_concept(one)} ({way}) it answers {plain_name(one.removed.answer)}."
        )
    else:
        parts.append("Without any one of them it would give the same answer (measured).")
    return " ".join(parts)


def _opening(found: Causes) -> str:
    """What was answered, and what it is held against."""
    a, b = plain_name(found.answer), plain_name(found.against)
    if found.answer != found.predicted:
        side = "ahead of" if found.margin >= 0 else "behind"
        return (
            f"It answered {plain_name(found.predicted)}; {a} lies {side} {b} by a margin of "
            f"{abs(found.margin):.1f}."
        )
    rightly = "rightly " if found.correct else ""
    if found.margin < 0:
        return f"It {rightly}answered {a}, though {b} lies ahead of it in the photo as stored."
    return f"It {rightly}answered {a} rather than {b} by a margin of {found.margin:.1f}."


def _numbered(rows: Sequence[Cause]) -> str:
    return listed([f"{spoken_concept(r)} ({signed(r.effect)})" for r in rows], NAMED)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
