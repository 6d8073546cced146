"""Explaining a photo that nobody annotated, by the labels of the units it excites.

The concepts that a unit was found to detect on the dissected photos stand in for L(x, c):
LC(x) = the labels of the units active in x. How well that stands in for masks is measured on
photos that have them (:func:`measure_stand_in`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np
import pandas as pd
from PIL import Image

from core.dissect.counts import upsample_torch
from core.dissect.labels import better_than_chance, unit_labels
from core.dissect.significance import FDR
from core.explain.account import Account, Seen, SeenBy, finish
from core.explain.learned import LEFT_OUT, learned_concepts, stand_in_concepts
from core.explain.metrics import consistency, similarity
from core.foundation.errors import UnitscopeError
from core.foundation.trust import check_named
from core.knowledge.core_concepts import CoreConcepts
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.load import load_model
from core.runs.run_file import Run

CHANCE = FDR
"""A unit speaks for its label only where it is better than chance at this false discovery rate."""


def speaking_labels(
    run: Run,
    layer: str | None = None,
    per_unit: int = 1,
    splits: Sequence[str] | None = None,
    chance: float = CHANCE,
) -> pd.DataFrame:
    """Labels of units that are better than chance, colours and scenes left out.

    chance : false discovery rate over the units. splits : labels are learned, and masks
    exchanged, on the images of these alone. Columns as in
    :func:`core.dissect.labels.unit_labels`.

    Raises UnitscopeError where chance was not measured: which units to believe is not guessed.
    """
    categories = run.sql("SELECT DISTINCT category FROM concepts ORDER BY 1")["category"]
    kept = [c for c in categories if c not in LEFT_OUT]
    labels = unit_labels(run, layer, categories=kept, per_unit=per_unit, splits=splits)
    if len(labels) and labels["chance"].isna().all() and chance < 1:
        why = better_than_chance(run, layer).chance_why
        raise UnitscopeError(f"which units' labels are better than chance is not known: {why}")
    return labels if chance >= 1 else labels[labels["adjusted"] <= chance]


def open_model(run: Run) -> LoadedModel:
    """The network of a run, checked to be the very one by its digest; without classes where it was
    dissected so.

    Raises UnitscopeError where it is not, or where it is code that a run file may not name
    (:func:`core.foundation.trust.check_named`): that is said before anything is imported.
    """
    stored = run.info["settings"]["model"]
    check_named(stored["spec"], f"run {run.digest}", stored.get("code"))
    model = load_model(stored["spec"])
    if model.digest() != stored["digest"]:
        raise UnitscopeError(
            f"{stored['spec']!r} is no longer the network of run {run.digest}: its weights, "
            "code or class names have changed since"
        )
    model.backbone = run.no_answers
    return model


def explain_photo(
    run: Run,
    core: CoreConcepts,
    photo: Image.Image,
    name: str = "photo",
    layer: str | None = None,
    model: LoadedModel | None = None,
    per_unit: int = 1,
    chance: float = CHANCE,
) -> Account:
    """The account of :func:`core.explain.account.account` for any photo, without masks.

    The network is run once. A unit is active where its upsampled map exceeds its threshold of
    the run; `seen` names, for each concept, the active units with that label and how far their peak
    is above the threshold. `target` is None and `annotated` is None throughout.

    Raises UnitscopeError where the network is not the run's, or answers a photo by the others in
    its batch, where the photo is too small for its preprocessing, or where the network gives for
    it what is no finite number.
    """
    model = model or open_model(run)
    by_batch = run.info.get("by_batch") or model.notes.get("batch norm")
    if by_batch:
        raise UnitscopeError(
            f"{name}: a photo alone cannot be compared with the run, whose thresholds are of "
            f"photos in batches: {by_batch}"
        )
    settings = run.info["settings"]
    number = run.layer(layer)
    name_of_layer = run.layer_names[number]
    forward = Forward(
        model, [name_of_layer], precision=settings["precision"], map_type=settings["map_type"]
    )
    seen = np.stack([np.asarray(model.preprocessing.view(photo.convert("RGB")))])
    passed = forward(seen, [name])
    maps = passed.layers[name_of_layer].maps[0]
    peaks = maps.float().amax((1, 2)).numpy()
    thresholds = run.sql("SELECT threshold FROM units WHERE layer = ? ORDER BY unit", [number])[
        "threshold"
    ].to_numpy()
    # Active as the run counts it: a pixel of the working grid above the threshold.
    grid = upsample_torch(maps, settings["grid"][1], settings["grid"][0])
    active = (grid.amax((1, 2)).numpy() > thresholds) & (peaks > thresholds)
    labels = speaking_labels(run, layer, per_unit, chance=chance)
    firing = labels[active[labels["unit"].to_numpy()]]
    predicted = scene = confidence = None
    probabilities: tuple[float, ...] = ()
    if forward.answers:
        logits = passed.logits[0].astype(np.float64)
        shares = np.exp(logits - logits.max())
        best = int(logits.argmax())
        predicted = run.sql("SELECT name FROM classes WHERE class = ?", [best])["name"][0]
        scenes = run.sql("SELECT name FROM scenes WHERE class = ?", [best])["name"]
        scene = scenes[0] if len(scenes) else None
        confidence = float(shares[best] / shares.sum())
        probabilities = tuple(map(float, shares / shares.sum()))
    learned = stand_in_concepts(firing, np.ones((1, len(peaks)), bool), len(core.concepts))[0]
    result = Account(
        name,
        None,
        predicted,
        scene,
        None,
        run.no_answers,
        confidence,
        None,
        name_of_layer,
        "unit_labels",
        "dataset",
        core.kind,
        None,
        int(active.sum()),
        _spoken(firing, peaks),
        masks=False,
        probabilities=probabilities,
    )
    return finish(result, core, learned, None)


def _spoken(firing: pd.DataFrame, peaks: np.ndarray) -> tuple[Seen, ...]:
    """The concepts that active units detect: those of most units first."""
    spoken = []
    for (concept, name_of, category), part in firing.groupby(
        ["concept", "name", "category"], sort=False
    ):
        part = part.sort_values(["iou", "unit"], ascending=[False, True])
        units = tuple(
            SeenBy(int(u), float(v), float(peaks[u] / t) if t > 0 else None)
            for u, v, t in zip(part["unit"][:5], part["iou"], part["threshold"], strict=False)
        )
        iou = float(part["iou"].iloc[0])
        spoken.append(Seen(int(concept), name_of, category, iou, units, len(part)))
    spoken.sort(key=lambda one: (-one.count, -one.iou, one.concept))
    return tuple(spoken)


class Agreement(TypedDict):
    """Of two sets of (image, concept) pairs: over all pairs together, and as the mean over images
    of each image's own."""

    precision: float
    recall: float
    precision_mean: float
    recall_mean: float


class StandIn(Agreement):
    """How well labels of units stand in for masks (:func:`measure_stand_in`)."""

    images: int
    labels: int
    mean_size: dict[str, float]
    always: Agreement
    cm_correlation: float
    cm_best: float
    sm_correlation: float
    sm_best: float


def measure_stand_in(
    run: Run,
    core: CoreConcepts,
    learn_on: Sequence[str],
    test_on: Sequence[str],
    layer: str | None = None,
    per_unit: int = 1,
    strategy: str = "highest_iou",
    iou: str = "image",
    chance: float = CHANCE,
) -> StandIn:
    """How well labels of units stand in for masks, on images that have masks.

    Labels are learned on the images of `learn_on`; on those of `test_on`, LC(x) by labels is
    compared with LC(x) by masks (`strategy`, `iou`):

    precision, recall : over all (image, concept) pairs together.
    precision_mean, recall_mean : mean over images of each image's own.
    cm_correlation, sm_correlation : Pearson's, of CM and SM over all (image, scene) pairs.
    cm_best, sm_best : share of images for which both give the same scene the largest value.
    always : the same precision and recall for a constant answer, as many of the concepts that
        LC(x) by masks holds most often on `learn_on` as labels name on average: what is
        reached without looking at the photo.
    """
    truth = learned_concepts(run, layer, strategy, iou)
    split = run.sql("SELECT split FROM images ORDER BY image")["split"].to_numpy()
    rows = np.flatnonzero(np.isin(split, list(test_on)))
    learning = np.flatnonzero(np.isin(split, list(learn_on)))
    if not len(rows) or not len(learning):
        raise UnitscopeError(
            f"splits {learn_on} and {test_on} hold no images; there are {set(split)}"
        )
    units = run.unit_count(layer)
    hits = run.sql("SELECT image, unit FROM hits WHERE layer = ?", [run.layer(layer)])
    active = np.zeros((len(truth.images), units), bool)
    active[np.searchsorted(truth.images, hits["image"]), hits["unit"]] = True
    labels = speaking_labels(run, layer, per_unit, learn_on, chance)
    ours = stand_in_concepts(labels, active[rows], len(truth.concepts))
    masks = truth.has[rows].toarray()
    size = max(1, round(float(ours.sum(1).mean())))
    often = np.asarray(truth.has[learning].sum(0)).ravel()
    constant = np.zeros_like(ours)
    constant[:, np.argsort(-often, kind="stable")[:size]] = True
    both = masks.any(1) & ours.any(1)
    if not both.any():
        raise UnitscopeError(
            "no image has learned concepts both by masks and by labels: "
            f"{len(labels)} units have a label better than chance at a false discovery rate of "
            f"{chance:.1%}"
        )

    def alike(metric: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[float, float]:
        a = metric(ours[both], core.members)
        b = metric(masks[both], core.members)
        known = ~np.isnan(a).any(0)
        a, b = a[:, known], b[:, known]
        moves = a.std() and b.std()
        r = float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if moves else float("nan")
        return r, float((a.argmax(1) == b.argmax(1)).mean())

    cm, sm = alike(consistency), alike(similarity)
    return {
        "images": len(rows),
        "labels": len(labels),
        **_agreement(ours, masks),
        "mean_size": {"labels": float(ours.sum(1).mean()), "masks": float(masks.sum(1).mean())},
        "always": _agreement(constant, masks),
        "cm_correlation": cm[0],
        "cm_best": cm[1],
        "sm_correlation": sm[0],
        "sm_best": sm[1],
    }


def _agreement(ours: np.ndarray, truth: np.ndarray) -> Agreement:
    """Precision and recall of boolean (images, concepts), pooled and as means over images."""
    both = (ours & truth).sum(1)
    said, there = ours.sum(1), truth.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": float(both.sum() / said.sum()),
            "recall": float(both.sum() / there.sum()),
            "precision_mean": float((both / said)[said > 0].mean()) if said.any() else float("nan"),
            "recall_mean": float((both / there)[there > 0].mean()) if there.any() else float("nan"),
        }
