"""The paper's account of one image: learned concepts against the core concepts of its two scenes.

Everything here is read off counts and core concepts; the sentence at the end says nothing that
is not among the facts above it. What *caused* the answer is measured by
:mod:`core.attribution.account`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from scipy import sparse

from core.explain.learned import select, unit_ious
from core.explain.metrics import consistency, difference, similarity
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import upsample
from core.foundation.names import match_names, plain_name
from core.foundation.plain import Json
from core.knowledge.core_concepts import CoreConcepts
from core.runs.run_file import Run, known_values

PREDICTED_SCENE = """
    SELECT i.image, CASE WHEN bool_or(s.scene = i.scene) THEN any_value(i.scene)
                         ELSE min(s.scene) END AS scene
    FROM images i JOIN scenes s ON s.class = i.predicted GROUP BY i.image
"""
"""The dataset's scene that each prediction is: two scenes may be spellings of one class, and
then the image's own is meant where it is among them, the first otherwise."""


def scenes_of(run: Run, splits: Sequence[str] | None = None) -> tuple[np.ndarray, ...]:
    """(row, predicted, target) of the images of some splits: row in :class:`Learned`, and the
    scenes of the dataset that prediction and annotation are, −1 where they are none. Raises
    UnitscopeError for an unknown split, and where the network predicts nothing."""
    run.need_answers("telling right from wrong predictions")
    chosen = known_values(run, "split", "images", splits)
    frame = run.sql(
        "SELECT row_number() OVER (ORDER BY i.image) - 1 AS row, i.split, "
        "coalesce(p.scene, -1) AS predicted, coalesce(i.scene, -1) AS target "
        f"FROM images i LEFT JOIN ({PREDICTED_SCENE}) p USING (image) ORDER BY i.image"
    )
    frame = frame[frame["split"].isin(chosen)]
    return tuple(frame[name].to_numpy(np.int64) for name in ("row", "predicted", "target"))


@dataclass(frozen=True)
class Spot:
    """Where A_t(x) and L(x, c) overlap, in fractions of what the network saw of the photo.

    x, y : the middle of the overlap. box : left, top, right, bottom. words : ``"upper left"``,
    ``"centre"`` and the like, by thirds. pixels : of the working grid.
    """

    x: float
    y: float
    box: tuple[float, float, float, float]
    words: str
    pixels: int


@dataclass(frozen=True)
class SeenBy:
    """A unit that saw a concept. peak : of a photo without masks, its largest activation as a
    multiple of its threshold; None where that is 0."""

    unit: int
    iou: float
    peak: float | None = None


@dataclass(frozen=True)
class Seen:
    """A concept of LC(x). id : in the run. iou : the largest. units : the strongest, `count` in
    all. area : pixels in the photo; None of a photo without masks. where : of the strongest."""

    id: int
    concept: str
    category: str
    iou: float
    units: tuple[SeenBy, ...]
    count: int
    area: int | None = None
    where: Spot | None = None


@dataclass(frozen=True)
class Listed:
    """A concept of a side. annotated : is it in this photo at all? None where nobody knows."""

    id: int
    concept: str
    category: str
    annotated: bool | None


@dataclass(frozen=True)
class Side:
    """One scene's core concepts: met, missed, and what was seen that is foreign to it."""

    scene: str
    core: tuple[str, ...]
    met: tuple[Listed, ...]
    missed: tuple[Listed, ...]
    foreign: tuple[Listed, ...]


@dataclass(frozen=True)
class Fit:
    """CM, SM and DM of a photo for one scene, with ranks (a row of :func:`scene_table`)."""

    scene: str
    size: int
    CM: float
    SM: float
    DM: float
    CM_rank: int
    SM_rank: int
    DM_rank: int


@dataclass(frozen=True)
class Account:
    """The paper's account of one photo (tasks T1), by CM, SM, DM and what the units saw.

    Attributes
    ----------
    image, split, target, correct : of the photo; split None of a photo of one's own.
    predicted, predicted_scene : class, and the scene of the dataset that it is (None where none).
    no_answers : why the network predicts nothing, "" where it does.
    layer, strategy, iou, core : how learned and core concepts were found.
    tau : the threshold τ of this photo. active_units : active in it.
    seen : LC(x), best first. masks : whether they are by masks, or by labels of units.
    predicted_side, target_side : None where there is no such scene.
    scenes : CM, SM, DM and their ranks for every scene with core concepts (:func:`scene_table`).
    sentence : the account in plain words.
    probabilities : of the classes, of a photo of one's own alone; the run keeps those of its own.
    """

    image: str
    split: str | None
    predicted: str | None
    predicted_scene: str | None
    target: str | None
    no_answers: str
    confidence: float | None
    correct: bool | None
    layer: str
    strategy: str
    iou: str
    core: str
    tau: float | None
    active_units: int
    seen: tuple[Seen, ...]
    masks: bool = True
    predicted_side: Side | None = None
    target_side: Side | None = None
    scenes: tuple[Fit, ...] = ()
    sentence: str = ""
    probabilities: tuple[float, ...] = ()

    @property
    def sides(self) -> dict[str, Side]:
        """``"predicted"`` and ``"target"`` → side, those that there are."""
        both = {"predicted": self.predicted_side, "target": self.target_side}
        return {name: side for name, side in both.items() if side is not None}

    def to_json(self) -> Json:
        """Plain data for files."""
        plain = asdict(self)
        for name in (
            "masks",
            "predicted_side",
            "target_side",
            "scenes",
            "sentence",
            "probabilities",
        ):
            del plain[name]
        plain["seen"] = [_plain_seen(one, self.masks) for one in self.seen]
        plain["sides"] = {name: _plain_side(side) for name, side in self.sides.items()}
        plain["scenes"] = [asdict(row) for row in self.scenes]
        plain["sentence"] = self.sentence
        return plain


def _plain_seen(one: Seen, masks: bool) -> Json:
    left_out = {"id"} if masks else {"id", "area", "where"}
    plain = {name: value for name, value in asdict(one).items() if name not in left_out}
    if one.where is not None:
        plain["where"]["box"] = list(one.where.box)
    units = [asdict(unit) for unit in one.units]
    for unit in units if masks else ():
        del unit["peak"]
    return plain | {"units": units}


def _plain_side(side: Side) -> Json:
    plain: Json = {"scene": side.scene, "core": list(side.core)}
    for group in ("met", "missed", "foreign"):
        plain[group] = [asdict(item) for item in getattr(side, group)]
        for item in plain[group]:
            del item["id"]
    return plain


def account(
    run: Run,
    core: CoreConcepts,
    image: str,
    layer: str | None = None,
    strategy: str = "minmax_threshold",
    iou: str = "image",
    units_each: int = 5,
) -> Account:
    """Why the network said what it said of an annotated image (tasks T1 of the paper).

    Parameters
    ----------
    core : core concepts of the run's scenes, of any kind.
    image : the image's id.
    units_each : how many of the strongest units are named with each concept.

    Raises UnitscopeError for an unknown image (nearest ids), layer, strategy or IoU.
    """
    row = _image_row(run, image)
    number = int(row["image"])
    rows, tau = select(unit_ious(run, layer, iou, number), strategy)
    facts = run.sql(
        "SELECT c.concept, c.name, c.category, a.area FROM areas a JOIN concepts c USING (concept) "
        "WHERE a.image = ?",
        [number],
    ).set_index("concept")
    name_of_layer = run.layer_names[run.layer(layer)]
    seen = []
    for concept, part in rows.groupby("concept"):
        part = part.sort_values(["iou", "unit"], ascending=[False, True])
        seen.append(
            Seen(
                int(concept),
                str(facts.loc[concept, "name"]),
                str(facts.loc[concept, "category"]),
                float(part["iou"].iloc[0]),
                tuple(
                    SeenBy(int(u), float(v))
                    for u, v in zip(
                        part["unit"][:units_each], part["iou"][:units_each], strict=True
                    )
                ),
                len(part),
                int(facts.loc[concept, "area"]),
                where(run, name_of_layer, number, int(part["unit"].iloc[0]), concept),
            )
        )
    seen.sort(key=lambda one: (-one.iou, one.concept))
    columns = len(core.concepts)
    learned = np.zeros(columns, bool)
    learned[rows["concept"].unique() - 1] = True
    annotated = np.zeros(columns, bool)
    here = facts.index[facts.index <= columns].to_numpy() - 1
    annotated[here] = True
    active = "SELECT count(*) AS n FROM hits WHERE layer = ? AND image = ?"
    result = Account(
        image,
        row["split"],
        row["class_name"],
        row["predicted_name"],
        row["target_name"],
        run.no_answers,
        None if row["confidence"] is None else float(row["confidence"]),
        None if pd.isna(row["correct"]) else bool(row["correct"]),
        name_of_layer,
        strategy,
        iou,
        core.kind,
        None if tau.empty else float(tau.iloc[0]),
        int(run.sql(active, [run.layer(layer), number])["n"][0]),
        tuple(seen),
    )
    return finish(result, core, learned, annotated)


def where(run: Run, layer: str, image: int, unit: int, concept: int) -> Spot | None:
    """Where A_t(x) and L(x, c) overlap; None where the run kept no maps, or the concept holds for
    the whole image."""
    if not run.info["settings"]["keep_maps"]:
        return None
    labels = run.label_maps(image)
    threshold = run.sql(
        "SELECT threshold FROM units WHERE layer = ? AND unit = ?", [run.layer(layer), unit]
    )["threshold"][0]
    cells = np.asarray(run.array(f"maps-{layer}")[image, unit], np.float32)
    height, width = labels.shape[1:]
    both = (upsample(cells, height, width) > threshold) & (labels == concept).any(0)
    if not both.any():
        return None
    rows, columns = np.nonzero(both)
    x, y = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
    across, down = ("left", "", "right")[int(3 * x)], ("upper", "", "lower")[int(3 * y)]
    box = (
        columns.min() / width,
        rows.min() / height,
        (columns.max() + 1) / width,
        (rows.max() + 1) / height,
    )
    left, top, right, bottom = (round(float(v), 3) for v in box)
    return Spot(
        round(float(x), 3),
        round(float(y), 3),
        (left, top, right, bottom),
        " ".join(filter(None, (down, across))) or "centre",
        int(both.sum()),
    )


def finish(
    result: Account, core: CoreConcepts, learned: np.ndarray, annotated: np.ndarray | None
) -> Account:
    """An account with its sides, scenes and sentence, from LC(x) as bool (concepts,).

    annotated : bool (concepts,), what is in the photo; None where nobody annotated it.
    """

    def side(scene: str | None) -> Side | None:
        return _side(core, scene, learned, annotated) if scene else None

    whole = replace(
        result,
        predicted_side=side(result.predicted_scene),
        target_side=side(result.target),
        scenes=tuple(Fit(**row) for row in scene_table(core, learned).to_dict("records")),
    )
    return replace(whole, sentence=sentence(whole))


def scene_table(core: CoreConcepts, learned: np.ndarray) -> pd.DataFrame:
    """CM, SM, DM (Eqs. 3 to 5) of one image for every scene with core concepts, with ranks.

    Rank 1 is the scene closest to what was learned: the largest CM and SM, the smallest DM.
    Columns scene, size (of CC), CM, SM, DM, CM_rank, SM_rank, DM_rank; ties share a rank.
    """
    row = sparse.csr_array(learned[None, :])
    frame = pd.DataFrame(
        {
            "scene": core.scenes,
            "size": core.members.sum(1),
            "CM": consistency(row, core.members)[0],
            "SM": similarity(row, core.members)[0],
            "DM": difference(row, core.members)[0],
        }
    )
    frame = frame[frame["size"] > 0].reset_index(drop=True)
    for metric, ascending in (("CM", False), ("SM", False), ("DM", True)):
        frame[f"{metric}_rank"] = frame[metric].rank(method="min", ascending=ascending).astype(int)
    return frame.sort_values(["SM", "scene"], ascending=[False, True], ignore_index=True)


def _image_row(run: Run, image: str) -> pd.Series:
    frame = run.sql(
        f"""
        SELECT i.*, k.name AS class_name, t.name AS target_name, p.name AS predicted_name
        FROM images i LEFT JOIN classes k ON k.class = i.predicted
             LEFT JOIN scenes t ON t.scene = i.scene
             LEFT JOIN ({PREDICTED_SCENE}) q USING (image) LEFT JOIN scenes p ON p.scene = q.scene
        WHERE i.id = ?
        """,
        [image],
    )
    if frame.empty:
        left_out = run.sql("SELECT file, reason FROM skipped WHERE id = ?", [image])
        if len(left_out):
            raise UnitscopeError(
                f"image {image!r} was left out of this run: {left_out['file'][0]}: "
                f"{left_out['reason'][0]}"
            )
        raise unknown("image of this run", image, run.sql("SELECT id FROM images")["id"])
    return frame.astype(object).where(frame.notna(), None).iloc[0]


def scene_row(core: CoreConcepts, scene: str) -> int:
    """Row of a scene in `core`, by its name or the name it matches. Raises UnitscopeError for one
    that is not there."""
    if scene in core.scenes:
        return core.scenes.index(scene)
    number = int(match_names([scene], core.scenes)[0])
    if number < 0:
        raise unknown("scene", scene, core.scenes)
    return number


def _side(
    core: CoreConcepts, scene: str, learned: np.ndarray, annotated: np.ndarray | None
) -> Side:
    number = scene_row(core, scene)
    members = core.members[number]

    def named(mask: np.ndarray) -> tuple[Listed, ...]:
        return tuple(
            Listed(
                int(c) + 1,
                core.concepts[c],
                core.categories[c],
                None if annotated is None else bool(annotated[c]),
            )
            for c in np.flatnonzero(mask)
        )

    return Side(
        core.scenes[number],
        tuple(core.concepts[c] for c in np.flatnonzero(members)),
        named(members & learned),
        named(members & ~learned),
        named(learned & ~members),
    )


def listed(names: Sequence[str], most: int = 4) -> str:
    """``a, b and c``, or the first few and how many more.

    >>> listed(["bed", "lamp", "wall"])
    'bed, lamp and wall'
    """
    names = list(names)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def sentence(result: Account) -> str:
    """The account in plain words, from the facts of :func:`account` alone."""
    target, predicted = result.target, result.predicted
    parts = []
    sure = "" if result.confidence is None else f"with confidence {result.confidence:.0%}"
    if predicted is None:
        parts.append(f"There is no prediction to account for: {result.no_answers}.")
    elif result.correct:
        parts.append(f"The network rightly predicted {spoken(predicted)}, {sure}.")
    elif target:
        parts.append(
            f"The network predicted {spoken(predicted)} for this photo of {spoken(target)}, {sure}."
        )
    else:
        parts.append(f"The network predicted {spoken(predicted)}, {sure}.")
    names = [one.concept for one in result.seen]
    parts.append(
        f"Its units detected {listed(names)}." if names else "No unit overlapped any concept in it."
    )
    if predicted is not None and result.predicted_side is None:
        parts.append(
            f"{plain_name(predicted).capitalize()} is no scene of this dataset, so it has no core "
            "concepts here."
        )
    parts += [
        sentence
        for name in (("predicted",) if result.correct else ("predicted", "target"))
        for sentence in _of_side(result, name)
    ]
    return " ".join(parts)


def _of_side(result: Account, name: str) -> list[str]:
    """What the sentence says of one scene."""
    side = result.sides.get(name)
    if side is None:
        return []
    if not side.core:
        return [f"No core concepts are known for {plain_name(side.scene)}."]
    text = (
        f"Of the {len(side.core)} core concepts of {plain_name(side.scene)} they detected "
        f"{len(side.met)}" + (f" ({listed([m.concept for m in side.met])})" if side.met else "")
    )
    present = [m.concept for m in side.missed if m.annotated]
    absent = [m.concept for m in side.missed if m.annotated is False]
    if present:
        text += f"; {listed(present)} {_are(present)} in the photo but not detected"
    if absent:
        text += f"; {listed(absent)} {_are(absent)} not annotated"
    sentences = [text + "."]
    if name == "predicted" and not side.met and not result.correct:
        sentences.append("So its core concepts do not explain this prediction.")
    return sentences


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def spoken(scene: str) -> str:
    """``a dining room``, ``an office`` from any spelling of a scene's name.

    >>> spoken("/d/dining_room"), spoken("office"), spoken("utility_room")
    ('a dining room', 'an office', 'a utility room')
    """
    name = plain_name(scene)
    # A u that is said as in "use" takes no n, nor does the o of "one".
    vowel = name[:1] in "aeiou" and not re.match(r"u(ni(?!n)|ti|se|su|r[aio])|eu|one\b", name)
    return f"{'an' if vowel else 'a'} {name}"
