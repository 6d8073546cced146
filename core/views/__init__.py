"""What the app shows of finished runs: frames, arrays and pictures, asked of the run file.

Every function takes an open :class:`core.runs.run_file.Run` and gives plain pandas frames, numpy
arrays or image bytes. Sums are made in SQL, so that a run of any size sends only what is
drawn. Scenes and predictions carry names here: a predicted class that is one of the
dataset's scenes takes the scene's spelling.
"""

from __future__ import annotations

import base64
import io
import os
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from core.datasets.decode import photo_of
from core.dissect.labels import FDR as FDR
from core.dissect.labels import active, judge, null_distribution, unit_labels
from core.dissect.labels import better_than_chance as better_than_chance
from core.dissect.predictions import per_scene as per_scene
from core.foundation.errors import UnitscopeError, nearest, unknown
from core.foundation.geometry import upsample
from core.foundation.intervals import interval as interval
from core.foundation.jobs import read_progress
from core.foundation.names import plain_name
from core.foundation.settings import CACHE, command
from core.runs.arrays import array_name
from core.runs.run_file import Run
from core.runs.store import find_run, list_runs

OTHER = "any other class"
"""Stands for the classes of a network that are no scene of the dataset."""

STALE = 30.0
"""Seconds without a heartbeat after which a run in the making counts as stopped."""

_COLOR = re.compile(
    r"^(black|blue|brown|gr[ae]y|green|orange|pink|purple|red|white|yellow)-c\b", re.IGNORECASE
)
"""Broden's colour names, which end in ``-c``."""

_NAMED = """
    SELECT i.*, s.name AS scene_name, coalesce(p.name, regexp_replace(k.name, '^/[a-z]/', ''))
               AS predicted_name,
           p.name IS NOT NULL AS predicted_known
    FROM images i LEFT JOIN scenes s USING (scene) LEFT JOIN classes k ON k.class = i.predicted
         LEFT JOIN (SELECT class, min(name) AS name FROM scenes WHERE class IS NOT NULL
                    GROUP BY class) p ON p.class = i.predicted
"""


def shown_name(name: str) -> str:
    """A stored name as people read it: plain, a colour of Broden's without its ``-c``.

    >>> shown_name("brown-c"), shown_name("/l/living_room"), shown_name("vitamin-c")
    ('brown', 'living room', 'vitamin c')
    """
    return plain_name(_COLOR.sub(r"\1", name.strip()))


# -- runs on disk ---------------------------------------------------------------------------


def cache_root() -> Path:
    """Folder of the run files: the environment's UNITSCOPE_CACHE, else the checkout's cache/."""
    return Path(os.environ.get("UNITSCOPE_CACHE") or CACHE)


def resolve(name: str | None, root: Path) -> Path:
    """The run file of a digest or its beginning; the newest run where `name` is empty.

    The name comes from an address, so it is never a path. Raises UnitscopeError, naming the
    nearest, where there is none of that name.
    """
    runs = list_runs(root)
    if not name:
        if not runs:
            raise UnitscopeError(f"no finished run under {root}")
        return runs[0]
    if name != "latest" and not any(path.stem.startswith(name) for path in runs):
        raise unknown("run", name, [path.stem for path in runs])
    return find_run(name, root)


def short_name(spec: str) -> str:
    """A SPEC without kinds, checkpoints and folders, as figures call it.

    >>> short_name("torchvision:resnet18:weights/a.pt"), short_name("folder:../data/tiny")
    ('resnet18', 'tiny')
    >>> short_name("python:tests.squeezenet_places:load:x.npz"), short_name("rooms")
    ('squeezenet_places', 'rooms')
    """
    kind, *rest = spec.split(":")
    if not rest:
        return kind
    name = Path(rest[0]).name
    if kind == "predictions":
        return Path(name).stem
    return name.rsplit(".", 1)[-1] if kind == "python" else name or spec


def disk_size(path: Path) -> int:
    """Bytes of a run file and of the arrays beside it, as far as they are still there."""
    size = 0
    for file in (path, *path.with_suffix(".arrays").glob("*")):
        with suppress(OSError):
            size += file.stat().st_size
    return size


def try_summary(path: Path) -> dict[str, Any] | str:
    """:func:`summary` of a run file, or why it cannot be read, in one sentence.

    Whatever is wrong with one file, the others are listed: so everything is caught here.
    """
    try:
        with Run(path) as run:
            return summary(run)
    except Exception as err:
        return str(err) or type(err).__name__


def summary(run: Run) -> dict[str, Any]:
    """What a run is, in one flat dict: names, definitions, sizes, accuracy, date.

    A run of published predictions has no layers, no `photos`, nobody says how `sure` its
    network was, and q, grid, shuffles and command are None. `older_versions` says by which other
    versions of our computations it was made, `no_answers` why a network predicts nothing; both
    are "" where there is nothing to say.
    """
    info = run.info
    settings = info["settings"]
    layers = run.sql("SELECT * FROM layers ORDER BY layer")
    skipped = run.sql("SELECT count(*) AS n FROM skipped")["n"][0]
    scored, right = info["accuracy"]["scored"], info["accuracy"]["right"]
    has = run.sql(
        "SELECT count_if(photo_bytes > 0) > 0 AS photos, count(confidence) > 0 AS sure FROM images"
    ).iloc[0]
    grid, request = settings.get("grid"), info.get("request")
    return {
        "run": run.digest,
        "dataset": run.dataset,
        "dataset_spec": settings["dataset"]["spec"],
        "model": short_name(settings["model"]["spec"]),
        "model_spec": settings["model"]["spec"],
        "layers": layers.to_dict("records"),
        "images": info["images"]["used"],
        "skipped": int(skipped),
        "scored": scored,
        "right": right,
        "accuracy": right / scored if scored else None,
        "photos": bool(has["photos"]),
        "sure": bool(has["sure"]),
        "no_answers": run.no_answers,
        "older_versions": run.older_versions,
        "q": settings.get("q"),
        "grid": tuple(grid) if grid else None,
        "shuffles": settings.get("shuffles"),
        "splits": list(settings.get("splits") or []),
        "command": command(request) if request else None,
        "request": request,
        "categories": run.categories,
        "channels": info["channels"],
        "has_maps": bool(settings.get("keep_maps")),
        "unmatched_scenes": info["accuracy"]["unmatched_scenes"],
        "finished": info["finished"],
        "seconds": info["seconds"],
        "versions": info["versions"],
    }


def unfinished(root: Path, now: float | None = None, kind: str = "") -> list[dict[str, Any]]:
    """Runs in the making, or stopped, under `root`: their progress files and a `state`.

    kind : what is in the making, by the word before its digest: ``retrain`` or ``svm``; runs have
    none.

    state: ``"running"``; ``"stopped"`` where the last heartbeat is older than :data:`STALE`
    seconds; ``"starting"`` where none was written yet.
    """
    rows = []
    for folder in sorted(root.glob("*.partial")):
        if folder.stem.rpartition("-")[0] != kind:
            continue
        if folder.with_suffix(".json" if kind else ".duckdb").exists():
            continue  # finished, and killed while it cleaned up
        told = read_progress(folder / "progress.json") or {}
        age = (time.time() if now is None else now) - told.get("time", 0)
        state = "starting" if not told else "stopped" if age > STALE else "running"
        rows.append({**told, "run": folder.stem, "state": state, "age": age if told else None})
    return rows


def skipped(run: Run) -> pd.DataFrame:
    """Files left out of a run: id, file, reason."""
    return run.sql("SELECT id, file, reason FROM skipped")


# -- the network and its images -------------------------------------------------------------


CHOOSING, JUDGING = ("val", "validation", "train"), ("test", "val", "validation")
"""Splits to choose units on, and to judge them on, the best first."""


def usual_splits(splits: Sequence[str]) -> tuple[str, str]:
    """(where to choose units, where to judge them) among the splits of a run: never the same
    photos where there are two; "" is all photos.

    >>> usual_splits(["test", "train", "val"]), usual_splits(["train", "val"])
    (('val', 'test'), ('train', 'val'))
    >>> usual_splits(["val"]), usual_splits(["train", "unseen"])
    (('', 'val'), ('train', ''))
    """
    judge = next((one for one in JUDGING if one in splits), "")
    choose = next((one for one in CHOOSING if one in splits and one != judge), "")
    return choose, judge


def accuracy(run: Run) -> pd.DataFrame:
    """Accuracy by split: split, images (scored), right, accuracy, low, high (95 % interval);
    splits that networks are judged on (:data:`JUDGING`) first."""
    frame = run.sql("""
        SELECT split, count(*)::INTEGER AS images, sum(correct::INTEGER)::INTEGER AS "right"
        FROM images WHERE correct IS NOT NULL GROUP BY split ORDER BY split
        """)
    order = {name: k for k, name in enumerate(JUDGING)}
    frame = frame.sort_values(
        "split",
        key=lambda column: column.map(lambda s: order.get(s, len(order))),
        kind="stable",
        ignore_index=True,
    )
    frame["accuracy"] = frame["right"] / frame["images"].clip(lower=1)
    bounds = [interval(r, n) for r, n in zip(frame["right"], frame["images"], strict=True)]
    frame["low"], frame["high"] = [b[0] for b in bounds], [b[1] for b in bounds]
    return frame


def splits(run: Run) -> list[str]:
    """Names of the splits in the run."""
    return run.sql("SELECT DISTINCT split FROM images ORDER BY 1")["split"].tolist()


def scenes(run: Run) -> pd.DataFrame:
    """Scenes that occur: scene (name), images, scored, right, accuracy; by name."""
    return run.sql(f"""
        SELECT scene_name AS scene, count(*)::INTEGER AS images,
               count(correct)::INTEGER AS scored, coalesce(sum(correct::INTEGER), 0)::INTEGER
               AS "right", avg(correct::INTEGER) AS accuracy
        FROM ({_NAMED}) WHERE scene_name IS NOT NULL GROUP BY 1 ORDER BY 1
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
            FROM ({_NAMED}) WHERE scene_name IS NOT NULL AND (? = '' OR split = ?)
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
            FROM ({_NAMED}) WHERE correct IS NOT NULL AND (? = '' OR split = ?)
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
    sort : ``"order"``, ``"confident"`` or ``"doubtful"``.
    """

    scene: str = ""
    predicted: str = ""
    outcome: str = ""
    split: str = ""
    concept: str = ""
    sort: str = "order"


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


def fitting(run: Run, choice: Filter) -> tuple[str, list[str]]:
    """SQL for the images that fit, with names of scenes and predictions, and its parameters.

    Raises UnitscopeError for an unknown concept or outcome.
    """
    where, values = ["TRUE"], []
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
    return f"SELECT * FROM ({_NAMED}) WHERE {' AND '.join(where)}", values


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


def image_facts(run: Run, image: int) -> dict[str, Any]:
    """One image: id, split, scene_name, predicted_name, confidence, correct, and neighbours
    `before` and `after` (ids, None at the ends)."""
    row = run.sql(f"SELECT * FROM ({_NAMED}) WHERE image = ?", [image])
    if not len(row):
        raise UnitscopeError(f"run {run.digest} has no image number {image}")
    facts = row.iloc[0].to_dict()
    for key, query in {
        "before": "image < ? ORDER BY image DESC",
        "after": "image > ? ORDER BY image",
    }.items():
        near = run.sql(f"SELECT id FROM images WHERE {query} LIMIT 1", [image])
        facts[key] = near["id"].iloc[0] if len(near) else None
    facts["correct"] = None if pd.isna(facts["correct"]) else bool(facts["correct"])
    return facts


def image_labels(run: Run, image: int) -> pd.DataFrame:
    """What is annotated in an image: concept, name, category, area (grid pixels), share (of
    the photo); largest first, whole-image labels last."""
    width, height = run.info["settings"]["grid"] or (1, 1)
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
    names = run.sql("""
        SELECT k.class, coalesce(p.name, regexp_replace(k.name, '^/[a-z]/', '')) AS name
        FROM classes k LEFT JOIN
            (SELECT class, min(name) AS name FROM scenes GROUP BY class) p USING (class)
        ORDER BY k.class
        """)["name"].tolist()
    true = run.sql(
        "SELECT s.class FROM images i JOIN scenes s USING (scene) WHERE image = ?", [image]
    )["class"]
    own = int(true.iloc[0]) if len(true) and not pd.isna(true.iloc[0]) else -1
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


# -- units ----------------------------------------------------------------------------------


def unit_table(run: Run, layer: str, denominator: str = "all") -> pd.DataFrame:
    """Every unit of a layer with its best label.

    Columns: unit, concept, name, category (None where it never overlaps a label), iou,
    chance (p-value), adjusted (for the false discovery rate over units), above (better than
    chance: adjusted ≤ :data:`FDR`), images, share (of images active), threshold.
    """
    key = ("unit_table", layer, denominator)
    return run.once(key, lambda: _unit_table(run, layer, denominator)).copy()


def _unit_table(run: Run, layer: str, denominator: str) -> pd.DataFrame:
    number = run.layer(layer)
    units = run.sql(
        "SELECT unit, threshold, images, hits FROM units WHERE layer = ? ORDER BY unit", [number]
    )
    best = unit_labels(run, layer, denominator)
    frame = units.merge(
        best[["unit", "concept", "name", "category", "iou", "chance", "adjusted"]],
        on="unit",
        how="left",
    )
    frame["iou"] = frame["iou"].fillna(0.0)
    frame["above"] = frame["adjusted"] <= FDR
    frame["share"] = frame["images"] / max(1, run.info["images"]["used"])
    return frame


def comparison(told: dict[str, Any]) -> str:
    """The two numbers that the number of units better than chance is to be compared with, in a
    sentence, from :func:`core.dissect.labels.better_than_chance`.

    >>> comparison({"above": 166, "by_chance": 0.04, "untrained": 63, "untrained_why": ""})
    'By chance (masks exchanged between photos): 0.0 on average. In the untrained twin: 63.'
    """
    if told["above"] is None:
        return f"Chance was not measured: {told['chance_why']}."
    twin = (
        f"The untrained twin was not measured: {told['untrained_why']}"
        if told["untrained"] is None
        else f"In the untrained twin: {told['untrained']:,}"
    )
    chance = f"By chance (masks exchanged between photos): {told['by_chance']:.1f} on average"
    return f"{chance}. {twin}."


def iou_histogram(
    run: Run, layer: str, denominator: str = "all", bins: int = 40, unit: int | None = None
) -> pd.DataFrame:
    """Best IoUs of the units, and of shuffled labels: kind, low, high, share (of its kind).

    The shuffled labels are those of all active units together, or of one unit: its own null
    distribution. Both kinds share the bins, so that the bars can be laid over each other.
    """
    real = unit_table(run, layer, denominator)["iou"].to_numpy()
    null = null_distribution(run, layer, denominator)
    null = null[active(run, layer)].ravel() if unit is None else null[unit]
    top = max(float(real.max(initial=0)), float(null.max(initial=0)), 1e-6)
    edges = np.linspace(0, top * 1.0001, bins + 1)
    frames = []
    for kind, values in (("shuffled labels", null), ("units", real)):
        if len(values):
            share = np.histogram(values, edges)[0] / len(values)
            frames.append(
                pd.DataFrame({"kind": kind, "low": edges[:-1], "high": edges[1:], "share": share})
            )
    return pd.concat(frames, ignore_index=True)


def detected(run: Run, layer: str, denominator: str = "all", above: bool = True) -> pd.DataFrame:
    """Concepts that are some unit's best label: name, category, units, iou (best), best (unit).

    Only labels better than chance where `above`; most units first.
    """
    frame = unit_table(run, layer, denominator).dropna(subset="name")
    if above and frame["chance"].notna().any():
        frame = frame[frame["above"]]
    frame = frame.sort_values(["iou", "unit"], ascending=[False, True])
    found = frame.groupby(["name", "category"], as_index=False, sort=False).agg(
        units=("unit", "size"), iou=("iou", "max"), best=("unit", "first")
    )
    return found.sort_values(["units", "iou"], ascending=False, ignore_index=True)


def unit_facts(run: Run, layer: str, unit: int) -> dict[str, Any]:
    """threshold, images, hits of one unit. Raises UnitscopeError naming the range of units."""
    row = run.sql("SELECT * FROM units WHERE layer = ? AND unit = ?", [run.layer(layer), unit])
    if not len(row):
        count = run.sql("SELECT units FROM layers WHERE name = ?", [layer])["units"].iloc[0]
        raise UnitscopeError(
            f"layer {layer} has no unit {unit}: its units are 0 to {count - 1}; "
            f"the nearest is {min(max(unit, 0), count - 1)}"
        )
    return row.iloc[0].to_dict()


def unit_concepts(
    run: Run, layer: str, unit: int, denominator: str = "all", count: int = 5
) -> pd.DataFrame:
    """The best labels of one unit: unit, concept, name, category, iou, overlap, area, hits, chance,
    adjusted.

    The last two as in :func:`core.dissect.labels.unit_labels`; they speak of a unit's best label,
    and are given for the others as a yardstick.
    """
    frame = run.sql(
        f"""
        SELECT unit, concept, name, category, iou_{_checked(denominator)} AS iou, overlap, area,
               hits
        FROM dataset_iou WHERE layer = ? AND unit = ? AND overlap > 0
        ORDER BY iou DESC, concept LIMIT {int(count)}
        """,
        [run.layer(layer), unit],
    )
    return _judged(run, layer, denominator, frame)


def _judged(run: Run, layer: str, denominator: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of unit and iou with chance and adjusted, by the null distributions of the units."""
    best = unit_table(run, layer, denominator).dropna(subset="name")
    null = null_distribution(run, layer, denominator)
    return judge(frame, best, null, int(active(run, layer).sum()))


def _checked(denominator: str) -> str:
    if denominator not in ("all", "annotated"):
        raise unknown("denominator", denominator, ["all", "annotated"])
    return denominator


def unit_images(
    run: Run, layer: str, unit: int, concept: int | None = None, count: int = 12, scene: str = ""
) -> pd.DataFrame:
    """The images in which a unit peaks highest.

    Columns: image, id, split, scene_name, predicted_name, correct, peak, hits, share (of the
    grid that is lit), iou (Eq. 2 within the image, with `concept`; 0 where they do not meet).
    """
    width, height = run.info["settings"]["grid"]
    frame = run.sql(
        f"""
        WITH top AS (
            SELECT h.image, h.peak, h.hits, n.id, n.split, n.scene_name, n.predicted_name,
                   n.correct
            FROM hits h JOIN ({_NAMED}) n USING (image)
            WHERE h.layer = ? AND h.unit = ? AND (? = '' OR n.scene_name = ?)
            ORDER BY h.peak DESC, h.image LIMIT {int(count)}
        )
        SELECT top.*, CASE WHEN c.whole THEN top.hits ELSE coalesce(k.overlap, 0) END AS overlap,
               a.area
        FROM top LEFT JOIN areas a ON a.image = top.image AND a.concept = ?
             LEFT JOIN concepts c ON c.concept = a.concept
             LEFT JOIN (SELECT image, overlap FROM counts WHERE layer = ? AND unit = ?
                        AND concept = ?) k ON k.image = top.image
        ORDER BY top.peak DESC, top.image
        """,
        [run.layer(layer), unit, scene, scene, concept, run.layer(layer), unit, concept],
    )
    frame["share"] = frame["hits"] / (width * height)
    overlap = frame["overlap"].where(frame["area"].notna(), 0)
    frame["iou"] = overlap / (frame["hits"] + frame["area"].fillna(0) - overlap)
    return frame.drop(columns=["overlap", "area"])


def has_maps(run: Run, layer: str) -> bool:
    """Whether the run kept the layer's activation maps."""
    return (run.arrays / f"{array_name(f'maps-{layer}')}.npy").is_file()


def peaks(run: Run, layer: str, unit: int) -> np.ndarray:
    """Largest activation of a unit in every image, float32 (images,)."""
    used = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    return np.asarray(run.array(f"peaks-{layer}")[:, unit])[used]


def peak_histogram(run: Run, layer: str, unit: int, bins: int = 32) -> pd.DataFrame:
    """How high a unit peaks: low, high, images, active (bins above T_t; T_t is a bin edge)."""
    values = peaks(run, layer, unit).astype(np.float64)
    threshold = float(unit_facts(run, layer, unit)["threshold"])
    low, high = min(values.min(initial=threshold), threshold), values.max(initial=threshold)
    step = max((high - low) / bins, 1e-9)
    below, over = int(np.ceil((threshold - low) / step)), int(np.ceil((high - threshold) / step))
    edges = threshold + step * np.arange(-below, over + 1)
    # Bins hold (low, high], as active means strictly above T_t.
    place = np.clip(np.searchsorted(edges, values, "left") - 1, 0, max(len(edges) - 2, 0))
    images = np.bincount(place, minlength=len(edges) - 1) if len(edges) > 1 else np.array([])
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": images.astype(int),
            "active": np.arange(len(edges) - 1) >= below,
        }
    )


def unit_scenes(run: Run, layer: str, unit: int) -> pd.DataFrame:
    """Where a unit is active: scene, images, active (images), share, mean (of its pooled
    activation over the scene's images); largest mean first."""
    frame = run.sql(
        f"""
        SELECT n.image, n.scene_name AS scene, h.hits IS NOT NULL AS active
        FROM ({_NAMED}) n LEFT JOIN
             (SELECT image, hits FROM hits WHERE layer = ? AND unit = ?) h USING (image)
        WHERE n.scene_name IS NOT NULL ORDER BY n.image
        """,
        [run.layer(layer), unit],
    )
    pooled = run.array(f"pooled-{layer}")
    frame["mean"] = np.asarray(pooled[:, unit], np.float64)[frame["image"].to_numpy()]
    table = frame.groupby("scene", as_index=False).agg(
        images=("image", "size"), active=("active", "sum"), mean=("mean", "mean")
    )
    table["share"] = table["active"] / table["images"]
    return table.sort_values(["mean", "scene"], ascending=[False, True], ignore_index=True)


def active_units(
    run: Run,
    layer: str,
    image: int,
    denominator: str = "all",
    definition: str = "image",
    count: int = 12,
) -> pd.DataFrame:
    """The units for which an image is most unusual.

    Columns: unit, rank (1 = no image makes the unit peak higher), images (in which it is
    active), peak, share (of the grid that is lit), name, category, iou, chance (its label over
    the dataset), here, iou_here (the concept it meets best in this very image, by Eq. 2 read
    as `definition`: ``"image"`` or ``"dataset_normalised"``; scene labels left out).
    Ordered by rank over images, then by lit area.
    """
    if definition not in ("image", "dataset_normalised"):
        raise unknown("definition", definition, ["image", "dataset_normalised"])
    width, height = run.info["settings"]["grid"]
    number = run.layer(layer)
    frame = run.sql(
        f"""
        WITH mine AS (SELECT unit, hits, peak FROM hits WHERE layer = ? AND image = ?),
        better AS (
            SELECT m.unit, count(*) FILTER (h.peak > m.peak) AS above
            FROM mine m JOIN hits h ON h.unit = m.unit WHERE h.layer = ? GROUP BY m.unit
        ),
        best AS (
            SELECT k.unit, c.name AS here, CASE WHEN ? = 'image'
                       THEN k.overlap / (m.hits + a.area - k.overlap)
                       ELSE k.overlap / (m.hits + c.area - k.overlap) END AS iou_here
            FROM counts k JOIN mine m USING (unit) JOIN areas a USING (image, concept)
                 JOIN concepts c USING (concept)
            WHERE k.layer = ? AND k.image = ?
            QUALIFY row_number() OVER (PARTITION BY k.unit ORDER BY iou_here DESC, concept) = 1
        )
        SELECT m.unit, b.above + 1 AS rank, u.images, m.peak, m.hits,
               best.here, best.iou_here
        FROM mine m JOIN better b USING (unit) JOIN units u ON u.layer = ? AND u.unit = m.unit
             LEFT JOIN best USING (unit)
        ORDER BY rank / u.images, m.hits DESC, m.unit LIMIT {int(count)}
        """,
        [number, image, number, definition, number, image, number],
    )
    frame["share"] = frame["hits"] / (width * height)
    labels = unit_labels(run, layer, denominator)[["unit", "name", "category", "iou", "chance"]]
    frame = frame.merge(labels, on="unit", how="left")
    return frame.drop(columns="hits")


def search_units(
    run: Run, layer: str, concept: int, denominator: str = "all", count: int = 50
) -> pd.DataFrame:
    """Units by how well they detect one concept: unit, iou, best (is it their best label), chance,
    adjusted, above (this overlap is better than chance, or chance was not measured)."""
    frame = run.sql(
        f"""
        WITH ranked AS (
            SELECT unit, concept, iou_{_checked(denominator)} AS iou, row_number() OVER (
                PARTITION BY unit ORDER BY iou_{denominator} DESC, concept) = 1 AS best
            FROM dataset_iou WHERE layer = ? AND overlap > 0
        )
        SELECT unit, iou, best FROM ranked WHERE concept = ? ORDER BY iou DESC, unit
        LIMIT {int(count)}
        """,
        [run.layer(layer), concept],
    )
    frame = _judged(run, layer, denominator, frame)
    return frame.assign(above=frame["chance"].isna() | (frame["adjusted"] <= FDR))


def search_images(run: Run, concept: int, count: int = 12) -> pd.DataFrame:
    """Images by how much of them one concept covers: image, id, scene_name, correct, share."""
    width, height = run.info["settings"]["grid"]
    return run.sql(
        f"""
        SELECT n.image, n.id, n.split, n.scene_name, n.predicted_name, n.correct,
               a.area / {width * height} AS share
        FROM areas a JOIN ({_NAMED}) n USING (image) WHERE a.concept = ?
        ORDER BY a.area DESC, n.image LIMIT {int(count)}
        """,
        [concept],
    )


# -- findings -------------------------------------------------------------------------------


class Finding(NamedTuple):
    """Something worth a look: a title, one sentence, a picture's image and unit, an address.

    unit : None where the picture is the plain photo. page : ``"units"`` or ``"scenes"``;
    address : the parameters that open it there.
    """

    title: str
    text: str
    image: int
    unit: int | None
    page: str
    address: dict[str, str]


def findings(run: Run, layer: str, denominator: str = "all") -> list[Finding]:
    """The strongest unit, the commonest confusion, and a busy unit that means nothing.

    Each is left out where the run has none.
    """
    found = []
    table = unit_table(run, layer, denominator)
    named = table.dropna(subset="name").sort_values(["iou", "unit"], ascending=[False, True])
    rounds = null_distribution(run, layer, denominator).shape[1]
    if len(named):
        top = named.iloc[0]
        luck = ""
        if rounds:
            reached = round(top["chance"] * (1 + rounds)) - 1
            luck = (
                f"It does as well in {reached or 'none'} of {rounds:,} rounds of shuffled labels."
            )
        found.append(
            Finding(
                f"Unit {top['unit']} sees {shown_name(top['name'])}",
                f"The clearest unit of {layer}: its lit regions and the {top['category']} "
                f"“{shown_name(top['name'])}” overlap with IoU {top['iou']:.3f}. {luck}",
                _picture(run, layer, int(top["unit"]), int(top["concept"]), 1),
                int(top["unit"]),
                "units",
                {"unit": str(top["unit"])},
            )
        )
    if not run.no_answers:
        found += _commonest_confusion(run)
    idle = table[(table["images"] > 0) & (table["adjusted"] > FDR)]
    if len(idle):
        unit = idle.sort_values(["hits", "unit"], ascending=[False, True]).iloc[0]
        found.append(
            Finding(
                f"Unit {unit['unit']} means nothing we can name",
                f"It lights up in {unit['images']:,} images, yet its best label, "
                f"“{shown_name(unit['name'])}” (IoU {unit['iou']:.3f}), is matched in "
                f"{unit['chance']:.0%} of rounds with shuffled labels.",
                _picture(run, layer, int(unit["unit"]), None),
                int(unit["unit"]),
                "units",
                {"unit": str(unit["unit"])},
            )
        )
    return found


def _commonest_confusion(run: Run) -> list[Finding]:
    """The finding on it, [] where there is none."""
    pairs = confusion(run)
    class_of = dict(run.sql("SELECT name, class FROM scenes WHERE class IS NOT NULL").to_numpy())
    wrong = pairs[(pairs["scene"] != pairs["predicted"]) & pairs["scene"].isin(list(class_of))]
    wrong = wrong[wrong["predicted"] != OTHER].sort_values("images", ascending=False)
    if not len(wrong):
        return []
    pair = wrong.iloc[0]
    choice = Filter(scene=pair["scene"], predicted=pair["predicted"], sort="confident")
    image = int(gallery(run, choice, size=1)[1]["image"].iloc[0])
    total = int(pairs.loc[pairs["scene"] == pair["scene"], "images"].sum())
    scene = plain_name(pair["scene"])
    return [
        Finding(
            f"{scene.capitalize()} taken for {plain_name(pair['predicted'])}",
            f"The network's commonest confusion: {pair['images']} of {total} images of {scene} "
            f"({pair['share']:.0%}).",
            image,
            None,
            "scenes",
            {"scene": pair["scene"], "predicted": pair["predicted"], "sort": "confident"},
        )
    ]


def _picture(run: Run, layer: str, unit: int, concept: int | None, place: int = 0) -> int:
    """Of the images in which a unit peaks highest, the one that shows its concept best.

    place : 1 for the next best one, where there is one.
    """
    top = unit_images(run, layer, unit, concept, count=24)
    best = top.sort_values("iou", ascending=False, kind="stable")["image"]
    return int(best.iloc[min(place, len(best) - 1)])


# -- pictures -------------------------------------------------------------------------------


def lit(
    run: Run, layer: str, unit: int, image: int, size: tuple[int, int] | None = None
) -> np.ndarray:
    """A_t(x): where a unit is above its threshold in an image, bool (height, width).

    size : (width, height); the run's working grid where None, on which its count of True is
        the stored |A_t(x)|.

    Raises UnitscopeError where the run kept no maps.
    """
    if not has_maps(run, layer):
        raise UnitscopeError(
            f"run {run.digest} kept no activation maps of {layer} (it was made with --no-maps)"
        )
    threshold = np.float64(unit_facts(run, layer, unit)["threshold"])
    cells = np.asarray(run.array(f"maps-{layer}")[image, unit], np.float32)
    width, height = size or run.info["settings"]["grid"]
    return upsample(cells, height, width) > threshold


def _photo(run: Run, image: int, side: int) -> Image.Image:
    """The photo as the network saw it, its longer side `side` pixels."""
    photo = photo_of(run.photo(image), f"photo {image} of run {run.digest}")
    scale = side / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def _bytes(picture: Image.Image, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, quality=88) if kind == "JPEG" else picture.save(out, kind)
    return out.getvalue()


def thumbnail(run: Run, image: int, side: int = 256) -> bytes:
    """JPEG bytes of a photo, its longer side `side` pixels."""
    return _bytes(_photo(run, image, side))


OUTLINE = (255, 196, 37)
"""Colour of the line around lit regions: seen on bright and dark photos alike."""


def lit_photo(run: Run, layer: str, unit: int, image: int, side: int = 320) -> bytes:
    """JPEG of a photo, dimmed outside the region where the unit is above its threshold.

    The region is the very surface that was counted, sampled at the picture's own pixels
    instead of the working grid's, so that its outline is smooth.
    """
    photo = _photo(run, image, side)
    mask = Image.fromarray(lit(run, layer, unit, image, photo.size).astype(np.uint8) * 255)
    grey = photo.convert("L").convert("RGB")
    dim = Image.blend(Image.blend(photo, grey, 0.75), Image.new("RGB", photo.size), 0.5)
    picture = Image.composite(photo, dim, mask)
    outline(picture, mask)
    return _bytes(picture)


def outline(picture: Image.Image, mask: Image.Image) -> None:
    """Draw a line two pixels wide around a region: the mask grown by a pixel, less the mask
    shrunk by one."""
    edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3))) != np.asarray(
        mask.filter(ImageFilter.MinFilter(3))
    )
    picture.paste(OUTLINE, mask=Image.fromarray(edge.astype(np.uint8) * 255))


def concept_color(concept: int) -> tuple[int, int, int]:
    """A steady colour for a concept id: hues a golden angle apart, in three lightnesses."""
    hue = (concept * 137.508) % 360 / 60
    lightness = (0.58, 0.70, 0.46)[concept % 3]
    chroma = (1 - abs(2 * lightness - 1)) * 0.72
    x = chroma * (1 - abs(hue % 2 - 1))
    base = [
        (chroma, x, 0),
        (x, chroma, 0),
        (0, chroma, x),
        (0, x, chroma),
        (x, 0, chroma),
        (chroma, 0, x),
    ][int(hue)]
    m = lightness - chroma / 2
    return tuple(round(255 * (v + m)) for v in base)  # type: ignore[return-value]


def mask_photo(
    run: Run, image: int, channel: int = 0, only: int | None = None, side: int = 480
) -> bytes:
    """JPEG of a photo with one channel of its labels laid over it.

    Labels are those that were counted, on the working grid. only : show this concept alone,
    in whichever channel, and dim the rest.
    """
    photo = _photo(run, image, side)
    labels = run.label_maps(image)
    if not len(labels):
        return _bytes(photo)
    if only is not None:
        mask = Image.fromarray(np.any(labels == only, axis=0).astype(np.uint8) * 255)
        mask = mask.resize(photo.size, Image.Resampling.NEAREST)
        dim = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size), 0.5)
        return _bytes(Image.composite(photo, dim, mask))
    if not 0 <= channel < len(labels):
        raise UnitscopeError(f"there is no channel {channel}: the run has {len(labels)}")
    plane = np.asarray(
        Image.fromarray(labels[channel].astype(np.int32)).resize(
            photo.size, Image.Resampling.NEAREST
        )
    )
    palette = np.array([concept_color(k) for k in range(int(plane.max()) + 1)], np.float64)
    pixels = np.asarray(photo, np.float64)
    mixed = 0.45 * pixels + 0.55 * palette[plane]
    mixed[plane == 0] = 0.5 * pixels[plane == 0] + 0.5 * 128
    edge = np.zeros(plane.shape, bool)
    edge[1:] |= plane[1:] != plane[:-1]
    edge[:, 1:] |= plane[:, 1:] != plane[:, :-1]
    mixed[edge] = 255
    return _bytes(Image.fromarray(mixed.round().astype(np.uint8)))


class Planes(NamedTuple):
    """Label maps of one image for a page that says what is under the pointer.

    width, height : of the working grid. planes : one text a channel, base64 of its concept ids
    as uint16, little-endian, row by row. names : concept id → (as people read it, its name).
    """

    width: int
    height: int
    planes: list[str]
    names: dict[int, tuple[str, str]]


def label_planes(run: Run, image: int) -> Planes:
    """What is annotated where in an image, on the working grid."""
    labels = run.label_maps(image)
    known = concepts(run).set_index("concept")
    found = [int(c) for c in np.unique(labels) if c and c in known.index]
    return Planes(
        labels.shape[2],
        labels.shape[1],
        [base64.b64encode(plane.astype("<u2").tobytes()).decode() for plane in labels],
        {c: (known["shown"][c], known["name"][c]) for c in found},
    )


def swatch(concept: int) -> str:
    """A concept's colour as a picture for a table cell (an SVG data address)."""
    square = "<svg xmlns='http://www.w3.org/2000/svg' width='14' height='14'><rect width='14'"
    return f"data:image/svg+xml;utf8,{square} height='14' rx='3' fill='{_rgb(concept)}'/></svg>"


def _rgb(concept: int) -> str:
    """:func:`concept_color` in CSS without a '#', which ends a data address."""
    return "rgb({}, {}, {})".format(*concept_color(concept))


def close_names(name: str, options: Sequence[str]) -> list[str]:
    """The options most like `name`: what an address with a slip may have meant."""
    return nearest(name, options)


class Sight(NamedTuple):
    """A unit, its label and IoU, and an image that shows both."""

    unit: int
    name: str
    iou: float
    image: int


def hero(run: Run, layer: str, denominator: str = "all", count: int = 3) -> list[Sight]:
    """The units that show best what a unit is, each with another label: the first picture.

    A thing with an outline is easier to see than a whole scene, so labels of regions go
    first. Empty where no unit meets any label.
    """
    table = unit_table(run, layer, denominator).dropna(subset="name")
    whole = run.sql("SELECT concept FROM concepts WHERE whole")["concept"]
    table["region"] = ~table["concept"].isin(whole) & (table["above"] | table["chance"].isna())
    table = table.sort_values(["region", "iou", "unit"], ascending=[False, False, True])
    best = table.drop_duplicates("concept").head(count)
    return [
        Sight(int(r.unit), r.name, float(r.iou), _picture(run, layer, int(r.unit), int(r.concept)))
        for r in best.itertuples(index=False)
    ]


def photo_or_lit(run: Run, layer: str, unit: int, image: int, side: int = 320) -> bytes:
    """:func:`lit_photo`, or the plain photo where the run kept no maps."""
    if has_maps(run, layer):
        return lit_photo(run, layer, unit, image, side)
    return thumbnail(run, image, side)
