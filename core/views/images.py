"""The images of a run: scenes, predictions, annotations, and filters over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import plain_name
from core.runs.run_file import Run
from core.views.names import shown_name

OTHER = "any other class"
"""Stands for the classes of a network that are no scene of the dataset."""

NAMED = """
    SELECT i.*, s.name AS scene_name, coalesce(p.name, regexp_replace(k.name, '^/[a-z]/', ''))
               AS predicted_name,
           p.name IS NOT NULL AS predicted_known
    FROM images i LEFT JOIN scenes s USING (scene) LEFT JOIN classes k ON k.class = i.predicted
         LEFT JOIN (SELECT class, min(name) AS name FROM scenes WHERE class IS NOT NULL
                    GROUP BY class) p ON p.class = i.predicted
"""


def scenes(run: Run) -> pd.DataFrame:
    """Scenes that occur: scene (name), images, scored, right, accuracy; by name."""
    return run.sql(f"""
        SELECT scene_name AS scene, count(*)::INTEGER AS images,
               count(correct)::INTEGER AS scored, coalesce(sum(correct::INTEGER), 0)::INTEGER
               AS "right", avg(correct::INTEGER) AS accuracy
        FROM ({NAMED}) WHERE scene_name IS NOT NULL GROUP BY 1 ORDER BY 1
        """)


def concepts(run: Run) -> pd.DataFrame:
    """Concepts that occur: concept (id), label, shown, name, category, whole, images, area.

    `label` is the name, with the category behind it where two concepts share a name; `shown`
    is the label as people read it, no two alike.
    """
    frame = run.sql("SELECT * FROM concepts WHERE images > 0 ORDER BY name, category")
    twice = frame["name"].duplicated(keep=False)
    both = frame["name"] + " (" + frame["category"] + ")"
    frame.insert(1, "label", frame["name"].where(~twice, both))
    shown = frame["label"].map(shown_name)
    alike = shown.duplicated(keep=False) & ~twice
    frame.insert(2, "shown", shown.where(~alike, shown + " (" + frame["category"] + ")"))
    return frame


def confusion(run: Run, split: str = "") -> pd.DataFrame:
    """How often each scene is predicted as which: scene, predicted, images, share of the scene.

    Classes that are no scene of the dataset are gathered as :data:`OTHER`. All splits where
    `split` is empty. Raises UnitscopeError where the network predicts nothing.
    """
    run.need_answers("a table of confusions")
    return run.sql(
        f"""
        WITH n AS (
            SELECT scene_name AS scene, if(predicted_known, predicted_name, ?) AS predicted
            FROM ({NAMED}) WHERE scene_name IS NOT NULL AND (? = '' OR split = ?)
        )
        SELECT scene, predicted, count(*)::INTEGER AS images,
               count(*) / sum(count(*)) OVER (PARTITION BY scene) AS share
        FROM n GROUP BY scene, predicted ORDER BY scene, predicted
        """,
        [OTHER, split, split],
    )


def confused_pairs(run: Run, split: str = "", count: int = 50) -> pd.DataFrame:
    """The commonest mistakes: scene, predicted, images, share (of the scene's images scored)."""
    return run.sql(
        f"""
        WITH n AS (
            SELECT scene_name AS scene, predicted_name AS predicted, correct
            FROM ({NAMED}) WHERE correct IS NOT NULL AND (? = '' OR split = ?)
        ), pairs AS (
            SELECT scene, predicted, any_value(correct) AS correct,
                   count(*)::INTEGER AS images,
                   count(*) / sum(count(*)) OVER (PARTITION BY scene) AS share
            FROM n GROUP BY scene, predicted
        )
        SELECT scene, predicted, images, share FROM pairs
        WHERE NOT correct AND predicted IS NOT NULL
        ORDER BY images DESC, share DESC, scene, predicted LIMIT {int(count)}
        """,
        [split, split],
    )


@dataclass(frozen=True)
class Filter:
    """Which images a gallery shows; an empty word leaves that question open.

    outcome : ``"right"``, ``"wrong"`` or ``"unscored"``. predicted : a name as
    :func:`confusion` gives it. concept : a label of :func:`concepts`.
    sort : ``"order"``, ``"confident"`` or ``"doubtful"``. ids : those of some photos, such as all
    with a tag; None for any.
    """

    scene: str = ""
    predicted: str = ""
    outcome: str = ""
    split: str = ""
    concept: str = ""
    sort: str = "order"
    ids: tuple[str, ...] | None = None


def gallery(run: Run, choice: Filter, page: int = 1, size: int = 24) -> tuple[int, pd.DataFrame]:
    """One page of the images that fit, and how many fit in all.

    Rows: image, id, split, scene_name, predicted_name, confidence, correct. `page` counts
    from 1. Raises UnitscopeError for an unknown concept.
    """
    where, values = fitting(run, choice)
    order = {"confident": "confidence DESC, image", "doubtful": "confidence, image"}
    frame = run.sql(
        f"""
        SELECT image, id, split, scene_name, predicted_name, confidence, correct,
               count(*) OVER () AS fitting
        FROM ({where})
        ORDER BY {order.get(choice.sort, "image")} LIMIT {int(size)} OFFSET {(page - 1) * size}
        """,
        values,
    )
    total = int(frame["fitting"].iloc[0]) if len(frame) else 0
    if not total and page > 1:
        return gallery(run, choice, 1, size)
    return total, frame.drop(columns="fitting")


def fitting(run: Run, choice: Filter) -> tuple[str, list[Any]]:
    """SQL for the images that fit, with names of scenes and predictions, and its parameters.

    Raises UnitscopeError for an unknown concept or outcome.
    """
    where: list[str] = ["TRUE"]
    values: list[Any] = []
    if choice.ids is not None:
        where.append("id IN (SELECT unnest(?::TEXT[]))")
        values.append(list(choice.ids))
    if choice.scene:
        where.append("scene_name = ?")
        values.append(choice.scene)
    if choice.predicted == OTHER:
        where.append("predicted IS NOT NULL AND NOT predicted_known")
    elif choice.predicted:
        where.append("predicted_name = ?")
        values.append(choice.predicted)
    if choice.split:
        where.append("split = ?")
        values.append(choice.split)
    if choice.outcome:
        kinds = {"right": "correct", "wrong": "NOT correct", "unscored": "correct IS NULL"}
        if choice.outcome not in kinds:
            raise unknown("outcome", choice.outcome, kinds)
        where.append(kinds[choice.outcome])
    if choice.concept:
        where.append("image IN (SELECT image FROM areas WHERE concept = ?)")
        values.append(str(concept_id(run, choice.concept)))
    return f"SELECT * FROM ({NAMED}) WHERE {' AND '.join(where)}", values


def concept_id(run: Run, label: str) -> int:
    """Id of a concept by its label or name. Raises UnitscopeError with the nearest ones."""
    known = concepts(run)
    hit = known[(known["label"] == label) | (known["name"] == label)]
    if not len(hit):
        hit = known[known["name"].map(plain_name) == plain_name(label)]
    if not len(hit):
        raise unknown("concept", label, known["label"].tolist())
    return int(hit["concept"].iloc[0])


def image_number(run: Run, image_id: str) -> int:
    """Place in the run of an image id. Raises UnitscopeError with the nearest ids."""
    hit = run.sql("SELECT image FROM images WHERE id = ?", [image_id])
    if len(hit):
        return int(hit["image"].iloc[0])
    raise unknown("image", image_id, run.sql("SELECT id FROM images ORDER BY image")["id"].tolist())


@dataclass(frozen=True)
class ImageFacts:
    """One image. scene_name, predicted_name : None where there is none. confidence : NaN where
    nobody says. correct : None where it is not scored. before, after : the ids of its neighbours,
    None at the ends."""

    id: str
    split: str
    scene_name: str | None
    predicted_name: str | None
    confidence: float
    correct: bool | None
    before: str | None
    after: str | None


def image_facts(run: Run, image: int) -> ImageFacts:
    """What is known of one image. Raises UnitscopeError for a number that is none of the run."""
    row = run.sql(f"SELECT * FROM ({NAMED}) WHERE image = ?", [image])
    if not len(row):
        raise UnitscopeError(f"run {run.digest} has no image number {image}")
    facts = row.iloc[0]

    def near(where: str) -> str | None:
        found = run.sql(f"SELECT id FROM images WHERE {where} LIMIT 1", [image])["id"]
        return str(found.iloc[0]) if len(found) else None

    return ImageFacts(
        id=str(facts["id"]),
        split=str(facts["split"]),
        scene_name=None if pd.isna(facts["scene_name"]) else str(facts["scene_name"]),
        predicted_name=None if pd.isna(facts["predicted_name"]) else str(facts["predicted_name"]),
        confidence=float("nan") if pd.isna(facts["confidence"]) else float(facts["confidence"]),
        correct=None if pd.isna(facts["correct"]) else bool(facts["correct"]),
        before=near("image < ? ORDER BY image DESC"),
        after=near("image > ? ORDER BY image"),
    )


def image_labels(run: Run, image: int) -> pd.DataFrame:
    """What is annotated in an image: concept, name, category, area (grid pixels), share (of
    the photo); largest first, whole-image labels last."""
    width, height = run.settings.grid if run.settings.has_grid else (1, 1)
    frame = run.sql(
        """
        SELECT a.concept, c.name, c.category, c.whole, a.area
        FROM areas a JOIN concepts c USING (concept) WHERE a.image = ?
        ORDER BY c.whole, a.area DESC, c.name
        """,
        [image],
    )
    frame["share"] = frame["area"] / (width * height)
    return frame


def predictions(run: Run, image: int, count: int = 5) -> pd.DataFrame:
    """The most probable classes of an image: class (name), probability, true (its scene)."""
    run.need_answers("the list of probable classes")
    logits = np.asarray(run.array("logits")[image], np.float64)
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    true = run.sql(
        "SELECT s.class FROM images i JOIN scenes s USING (scene) WHERE image = ?", [image]
    )["class"]
    own = int(true.iloc[0]) if len(true) and not pd.isna(true.iloc[0]) else -1
    return probable(run, chances, own, count)


def probable(run: Run, chances: np.ndarray, own: int = -1, count: int = 5) -> pd.DataFrame:
    """The most probable classes by the probabilities of all, as :func:`predictions` gives them; own
    : the class of the true scene, which is listed in any case, −1 where there is none."""
    names = run.sql("""
        SELECT k.class, coalesce(p.name, regexp_replace(k.name, '^/[a-z]/', '')) AS name
        FROM classes k LEFT JOIN
            (SELECT class, min(name) AS name FROM scenes GROUP BY class) p USING (class)
        ORDER BY k.class
        """)["name"].tolist()
    top = np.argsort(-chances, kind="stable")[:count].tolist()
    if own >= 0 and own not in top:
        top.append(own)
    return pd.DataFrame(
        {
            "class": [names[k] for k in top],
            "probability": chances[top],
            "true": [k == own for k in top],
            "rank": 1 + np.array([int((chances > chances[k]).sum()) for k in top]),
        }
    )


def search_images(run: Run, concept: int, count: int = 12) -> pd.DataFrame:
    """Images by how much of them one concept covers: image, id, scene_name, correct, share."""
    width, height = run.settings.grid
    return run.sql(
        f"""
        SELECT n.image, n.id, n.split, n.scene_name, n.predicted_name, n.correct,
               a.area / {width * height} AS share
        FROM areas a JOIN ({NAMED}) n USING (image) WHERE a.concept = ?
        ORDER BY a.area DESC, n.image LIMIT {int(count)}
        """,
        [concept],
    )
