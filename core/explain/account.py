"""The account of one image: what the units saw, against what its two scenes are made of.

Everything here is read off counts and core concepts; the sentence at the end says nothing that
is not among the facts above it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from core.explain.learned import select, unit_ious
from core.explain.metrics import consistency, difference, similarity
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import upsample
from core.foundation.names import match_names, plain_name
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


def account(
    run: Run,
    core: CoreConcepts,
    image: str,
    layer: str | None = None,
    strategy: str = "minmax_threshold",
    iou: str = "image",
    units_each: int = 5,
) -> dict[str, Any]:
    """Why the network said what it said of an annotated image (tasks T1 of the paper).

    Parameters
    ----------
    core : core concepts of the run's scenes, of any kind.
    image : the image's id.
    units_each : how many of the strongest units are named with each concept.

    Returns plain data:

    image, split, predicted, predicted_scene (None where the prediction is no scene of the
        dataset), target, confidence, correct; no_answers (why the network predicts nothing, ""
        where it does; predicted and confidence are None then)
    seen : concept, category, iou (the largest), units (unit, iou), area, where (:func:`where`,
        of the strongest unit), for LC(x), best first
    sides : for "predicted" and "target": scene, core, met, missed, foreign (each concept with
        its category, and `annotated`: is it in this photo at all)
    scenes : CM, SM, DM and their ranks for every scene that has core concepts
    sentence : the account in plain words

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
            {
                "concept": facts.loc[concept, "name"],
                "category": facts.loc[concept, "category"],
                "iou": float(part["iou"].iloc[0]),
                "area": int(facts.loc[concept, "area"]),
                "where": where(run, name_of_layer, number, int(part["unit"].iloc[0]), concept),
                "units": [
                    {"unit": int(u), "iou": float(v)}
                    for u, v in zip(
                        part["unit"][:units_each], part["iou"][:units_each], strict=True
                    )
                ],
                "count": len(part),
            }
        )
    seen.sort(key=lambda s: (-s["iou"], s["concept"]))
    columns = len(core.concepts)
    learned = np.zeros(columns, bool)
    learned[rows["concept"].unique() - 1] = True
    annotated = np.zeros(columns, bool)
    here = facts.index[facts.index <= columns].to_numpy() - 1
    annotated[here] = True
    result = {
        "image": image,
        "split": row["split"],
        "predicted": row["class_name"],
        "predicted_scene": row["predicted_name"],
        "target": row["target_name"],
        "no_answers": run.no_answers,
        "confidence": None if row["confidence"] is None else float(row["confidence"]),
        "correct": None if pd.isna(row["correct"]) else bool(row["correct"]),
        "layer": name_of_layer,
        "strategy": strategy,
        "iou": iou,
        "core": core.kind,
        "tau": None if tau.empty else float(tau.iloc[0]),
        "active_units": int(
            run.sql(
                "SELECT count(*) AS n FROM hits WHERE layer = ? AND image = ?",
                [run.layer(layer), number],
            )["n"][0]
        ),
        "seen": seen,
    }
    return finish(result, core, learned, annotated)


def where(run: Run, layer: str, image: int, unit: int, concept: int) -> dict[str, Any] | None:
    """Where A_t(x) and L(x, c) overlap, in fractions of what the network saw of the photo.

    x, y : the middle of the overlap; box : left, top, right, bottom; words : ``"upper left"``,
    ``"centre"`` and the like, by thirds. None where the run kept no maps, or the concept holds
    for the whole image.
    """
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
    return {
        "x": round(float(x), 3),
        "y": round(float(y), 3),
        "box": [
            round(float(v), 3)
            for v in (
                columns.min() / width,
                rows.min() / height,
                (columns.max() + 1) / width,
                (rows.max() + 1) / height,
            )
        ],
        "words": " ".join(filter(None, (down, across))) or "centre",
        "pixels": int(both.sum()),
    }


def finish(
    result: dict[str, Any], core: CoreConcepts, learned: np.ndarray, annotated: np.ndarray | None
) -> dict[str, Any]:
    """Add sides, scenes and sentence to an account, from LC(x) as bool (concepts,).

    annotated : bool (concepts,), what is in the photo; None where nobody annotated it.
    """
    result["sides"] = {
        side: _side(core, result[name], learned, annotated)
        for side, name in (("predicted", "predicted_scene"), ("target", "target"))
        if result.get(name)
    }
    result["scenes"] = scene_table(core, learned).to_dict("records")
    result["sentence"] = sentence(result)
    return result


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


def _side(
    core: CoreConcepts, scene: str, learned: np.ndarray, annotated: np.ndarray | None
) -> dict[str, Any]:
    known = scene in core.scenes
    number = core.scenes.index(scene) if known else int(match_names([scene], core.scenes)[0])
    if number < 0:
        raise unknown("scene", scene, core.scenes)
    members = core.members[number]

    def named(mask: np.ndarray) -> list[dict[str, Any]]:
        return [
            {
                "concept": core.concepts[c],
                "category": core.categories[c],
                "annotated": None if annotated is None else bool(annotated[c]),
            }
            for c in np.flatnonzero(mask)
        ]

    return {
        "scene": core.scenes[number],
        "core": [core.concepts[c] for c in np.flatnonzero(members)],
        "met": named(members & learned),
        "missed": named(members & ~learned),
        "foreign": named(learned & ~members),
    }


def _listed(names: Sequence[str], most: int = 4) -> str:
    """``a, b and c``, or the first few and how many more.

    >>> _listed(["bed", "lamp", "wall"])
    'bed, lamp and wall'
    """
    names = list(names)
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else "nothing"


def sentence(result: dict[str, Any]) -> str:
    """The account in plain words, from the facts of :func:`account` alone."""
    target, predicted = result.get("target"), result["predicted"]
    parts = []
    sure = "" if predicted is None else f"with confidence {result['confidence']:.0%}"
    if predicted is None:
        parts.append(f"There is no answer to account for: {result['no_answers']}.")
    elif result["correct"]:
        parts.append(f"The network rightly called this photo {spoken(predicted)}, {sure}.")
    elif target:
        parts.append(
            f"The network called this photo of {spoken(target)} {spoken(predicted)}, {sure}."
        )
    else:
        parts.append(f"The network called this photo {spoken(predicted)}, {sure}.")
    names = [s["concept"] for s in result["seen"]]
    parts.append(
        f"Its units saw {_listed(names)}." if names else "No unit overlapped any concept in it."
    )
    sides = result["sides"]
    if predicted is not None and not sides.get("predicted"):
        parts.append(
            f"{plain_name(predicted).capitalize()} is no scene of this dataset, so it has no core "
            "concepts here."
        )
    for name in ("predicted",) if result["correct"] else ("predicted", "target"):
        side = sides.get(name)
        if not side:
            continue
        if not side["core"]:
            parts.append(f"No core concepts are known for {plain_name(side['scene'])}.")
            continue
        met, missed = side["met"], side["missed"]
        text = (
            f"Of the {len(side['core'])} core concepts of {plain_name(side['scene'])} they met "
            f"{len(met)}" + (f" ({_listed([m['concept'] for m in met])})" if met else "")
        )
        present = [m["concept"] for m in missed if m["annotated"]]
        absent = [m["concept"] for m in missed if m["annotated"] is False]
        if present:
            text += f"; {_listed(present)} {_are(present)} in the photo but went unseen"
        if absent:
            text += f"; {_listed(absent)} {_are(absent)} not in the photo"
        parts.append(text + ".")
        if name == "predicted" and not met and not result["correct"]:
            parts.append("So its core concepts do not explain this answer.")
    return " ".join(parts)


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
