"""Re-training via PE: a linear SVM on the explanation metrics (the paper's Table 6).

Three groups of features of an image x, each over all scenes y that have core concepts:

``metrics``  CM(x, y), SM(x, y), DM(x, y) (Eqs. 3 to 5)
``mrr``      the mean over the three metrics of 1 / rank of y: rank 1 has the largest CM, the
             largest SM, the smallest DM; scenes that tie share the best of their ranks
``hidden``   the hidden state: the mean of each unit's map in the run's layer, or the input of the
             network's classifier

The SVM (linear kernel, hinge loss, one scene against one) is fitted to standardised features of
the training images, with C by cross-validation among them, and judged on the test images.

LC(x) comes from one of two sources, and this decides what the figure may be compared with:

``masks``    from the masks of the photo itself, as published: a test photo must be *annotated*
             before the SVM can say its scene, and the network needs no such thing
``labels``   from the labels of the units active in the photo, learned on the training images:
             no annotation of the test photo is used

Beside them stands an SVM on ``annotated``, which concepts the masks of the photo hold at all:
what the masks say by themselves, with neither network nor knowledge. Where it does as well as an
SVM with LC(x) from masks, the gain is the annotator's, not the explanation's.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse, stats

from core.dissect.labels import known_values
from core.explain.account import scenes_of
from core.explain.learned import learned_concepts, stand_in_concepts
from core.explain.metrics import consistency, difference, similarity
from core.explain.photo import CHANCE, speaking_labels
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import Sole, read_result, write_text
from core.foundation.intervals import interval, paired_interval
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.settings import CACHE
from core.foundation.versions import versions_of
from core.knowledge.core_concepts import Annotated, CoreConcepts
from core.runs.run_file import Run

GROUPS = ("metrics", "mrr", "hidden")
"""The paper's three groups of features, in its order."""

MASKS_ALONE = "annotated"
"""The control: which concepts are annotated in the photo, colours and scenes left out."""

SOURCES = {
    "masks": "needs the masks of the test photo",
    "labels": "needs no masks of the test photo",
}
"""Where LC(x) comes from, with what that asks of a test photo."""

COSTS = tuple(10.0**k for k in range(-4, 2))
"""Values of C tried."""

FOLDS = 4


def subsets() -> list[tuple[str, ...]]:
    """Every choice of groups: each alone, each pair, all three."""
    return [pick for size in (1, 2, 3) for pick in combinations(GROUPS, size)]


# -- features -------------------------------------------------------------------------------


def reciprocal_ranks(cm: np.ndarray, sm: np.ndarray, dm: np.ndarray) -> np.ndarray:
    """MRR(x, y) = (1/rank_CM + 1/rank_SM + 1/rank_DM) / 3, float64 (images, scenes).

    Ranks run over the scenes of one image, from the largest CM and SM and the smallest DM; scenes
    that tie share the least rank, as in :func:`core.explain.account.scene_table`.

    >>> one = np.array([[0.5, 0.25, 0.25]])
    >>> reciprocal_ranks(one, one, -one).round(3).tolist()
    [[1.0, 0.5, 0.5]]
    """
    ranks = [stats.rankdata(-a, method="min", axis=1) for a in (cm, sm, -dm)]
    return np.asarray(sum(1.0 / rank for rank in ranks) / 3.0)


def metric_features(
    learned: sparse.csr_array | np.ndarray, core: np.ndarray
) -> dict[str, np.ndarray]:
    """The groups ``metrics`` (images, 3 · scenes) and ``mrr`` (images, scenes), float64.

    learned : bool (images, concepts), LC(x). core : bool (scenes, concepts), CC(y); scenes without
    core concepts take no part. Raises UnitscopeError where no scene has any.
    """
    kept = core[core.any(1)]
    if not len(kept):
        raise UnitscopeError("no scene has core concepts, so there are no metrics to learn from")
    cm, sm = consistency(learned, kept), similarity(learned, kept)
    dm = difference(learned, kept)
    return {"metrics": np.hstack([cm, sm, dm]), "mrr": reciprocal_ranks(cm, sm, dm)}


# -- the SVM --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fitted:
    """An SVM's answer: predicted scenes of the test images, C, accuracy in cross-validation."""

    predicted: np.ndarray
    cost: float
    validation: float


def fit_svm(
    train: np.ndarray, target: np.ndarray, test: np.ndarray, seed: int = 0, folds: int = FOLDS
) -> Fitted:
    """Fit a linear SVM to training images, and say the scenes of test images.

    train (images, features), target (images,), test (images, features). Features are brought to
    mean 0 and variance 1 over the images that are fitted; C is that of :data:`COSTS` with the best
    accuracy over `folds` parts of the training images, the smallest among equals.

    Raises UnitscopeError where the training images are of fewer than two scenes.
    """
    from sklearn.model_selection import GridSearchCV, KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if len(np.unique(target)) < 2:
        raise UnitscopeError("the training images are all of one scene: there is nothing to learn")
    # One scene against one, by libsvm: some thirty times faster on a few thousand images than one
    # against the rest by liblinear, and no worse (docs/retrain.md).
    svm = make_pipeline(StandardScaler(), SVC(kernel="linear"))
    parts = KFold(min(folds, len(target)), shuffle=True, random_state=seed)
    search = GridSearchCV(svm, {"svc__C": list(COSTS)}, cv=parts).fit(train, target)
    return Fitted(
        search.predict(test), float(search.best_params_["svc__C"]), float(search.best_score_)
    )


# -- the whole ------------------------------------------------------------------------------


def hidden_states(run: Run, layer: str | None, kind: str) -> np.ndarray:
    """float32 (images, features), rows as in the run's images in order.

    kind : ``layer``, the mean of each unit's map, or ``classifier``, the input of the network's
    classifier, for which the network is run over the run's photos. Raises for another kind, and
    where the network or dataset of the run cannot be opened any more.
    """
    number = run.layer(layer)
    images = run.sql("SELECT image, id FROM images ORDER BY image")
    if kind == "layer":
        name = run.layer_names[number]
        return np.asarray(run.array(f"pooled-{name}")[images["image"].to_numpy()])
    if kind != "classifier":
        raise unknown("hidden state", kind, ("layer", "classifier"))
    # Only here: all else in this module needs no network.
    import torch

    from core.datasets import dataset_of
    from core.explain.photo import open_model
    from core.retrain.network import find_classifier, predict

    model = open_model(run)
    dataset = dataset_of(run)
    seen = (
        np.asarray(model.preprocessing.view(dataset.photo(dataset.index_of(name))))
        for name in images["id"]
    )
    rows = []
    classifier = ""
    batch: list[np.ndarray] = []
    for k, photo in enumerate(seen, 1):
        batch.append(photo)
        if len(batch) == 64 or k == len(images):
            stacked = np.stack(batch)
            if not classifier:
                example = torch.zeros(1, 3, *stacked.shape[1:3])
                classifier = find_classifier(model.module, example)[0]
            features = predict(model.module, model.preprocessing, stacked, classifier=classifier)[1]
            assert features is not None
            rows.append(features)
            batch = []
    return np.concatenate(rows)


def learned_by(
    run: Run,
    source: str,
    layer: str | None,
    strategy: str,
    iou: str,
    train: Sequence[str],
    per_unit: int,
    chance: float,
) -> sparse.csr_array:
    """LC(x) of every image of a run, bool (images, concepts), from a source of :data:`SOURCES`."""
    if source == "masks":
        return learned_concepts(run, layer, strategy, iou).has
    if source != "labels":
        raise unknown("source of learned concepts", source, SOURCES)
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    number = run.layer(layer)
    units = int(run.sql("SELECT units FROM layers ORDER BY layer")["units"].iloc[number])
    hits = run.sql("SELECT image, unit FROM hits WHERE layer = ?", [number])
    active = np.zeros((len(images), units), bool)
    active[np.searchsorted(images, hits["image"]), hits["unit"]] = True
    concepts = run.sql("SELECT count(*) AS n FROM concepts WHERE category <> 'scene'")["n"][0]
    labels = speaking_labels(run, layer, per_unit, train, chance)
    return sparse.csr_array(stand_in_concepts(labels, active, int(concepts)))


def annotated_concepts(run: Run) -> sparse.csr_array:
    """Which concepts are annotated in each image of a run: bool (images, concepts), colours and
    scenes left out."""
    annotated = Annotated.from_run(run)
    return sparse.csr_array(annotated.has[:, np.flatnonzero(annotated.eligible)])


def retrain_pe(
    run: Run,
    cores: Mapping[str, CoreConcepts],
    *,
    train: Sequence[str] = ("train",),
    test: Sequence[str] = ("test",),
    layer: str | None = None,
    strategy: str = "minmax_threshold",
    iou: str = "image",
    hidden: str = "layer",
    sources: Sequence[str] = tuple(SOURCES),
    groups: Sequence[tuple[str, ...]] = (),
    per_unit: int = 1,
    chance: float = CHANCE,
    seed: int = 0,
    core_on: str = "train",
    root: Path = CACHE,
    command: str = "",
    progress: Report | None = None,
    stop: Stop = never,
    fresh: bool = False,
) -> dict[str, Any]:
    """SVMs on every choice of features, beside the network's own accuracy.

    Parameters
    ----------
    cores : core concepts by kind, for an honest figure made from the training images alone.
    train, test : splits to fit on and to judge on. layer, strategy, iou : of LC(x) by masks.
    hidden : see :func:`hidden_states`. groups : choices of :data:`GROUPS`; all where empty.
    per_unit, chance : labels a unit may speak for, see
        :func:`core.explain.photo.speaking_labels`. core_on : told in the result.
    root : where ``svm-<digest>.json`` lies; a finished one is read, a stopped one gone on with.
    command : the command line that goes on with it, left in the heartbeat.

    Returns plain data:

    digest, run, dataset, model, layer, train, test, strategy, iou, hidden, core_on, labels (that
        speak), n (test images), n_train, unseen (test images of scenes without a training image)
    target : scene of each test image. network, majority : the network's predicted scenes (−1
        where its class is none), and the most frequent training scene.
    rows : of each SVM: cc (None where no core concepts are used), source (None likewise),
        groups, features (columns), cost, validation, predicted. First the hidden state alone, and
        the masks alone where LC(x) from masks is among the sources.

    Images without a scene are left out. Raises UnitscopeError for an unknown split, layer, …, or
    where no image is left.
    """
    picks = list(groups) or subsets()
    for pick in picks:
        for group in pick:
            if group not in GROUPS:
                raise unknown("group of features", group, GROUPS)
    for source in sources:
        if source not in SOURCES:
            raise unknown("source of learned concepts", source, SOURCES)
    for splits in (train, test):
        known_values(run, "split", "images", splits)
    if set(train) & set(test):
        raise UnitscopeError(f"train {list(train)} and test {list(test)} share a split")
    run.need_answers("the SVM of Table 6, judged beside the network,")
    facts = {
        "run": run.digest,
        "layer": run.layer_names[run.layer(layer)],
        "train": list(train),
        "test": list(test),
        "strategy": strategy,
        "iou": iou,
        "hidden": hidden,
        "sources": list(sources),
        "groups": [list(pick) for pick in picks],
        "per_unit": per_unit,
        "chance": chance,
        "seed": seed,
        "core_on": core_on,
        "cores": {
            kind: [core.scenes, core.concepts, np.argwhere(core.members).tolist()]
            for kind, core in cores.items()
        },
        "computed": versions_of("SVM", "explanation", "dissection", "replay"),
        "versions": [version(name) for name in ("scikit-learn", "numpy", "scipy")],
    }
    digest = digest_of(facts)[:DIGITS]
    final, folder = root / f"svm-{digest}.json", root / f"svm-{digest}.partial"
    root.mkdir(parents=True, exist_ok=True)
    lock = Sole(root / f"svm-{digest}.lock", f"svm-{digest} is being made by another process")
    try:
        if fresh:
            final.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        if final.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # killed when all but that was done
            return read_result(final)
        row, _, scene = scenes_of(run, train)
        row, scene = row[scene >= 0], scene[scene >= 0]
        test_row, predicted, target = scenes_of(run, test)
        placed = target >= 0
        test_row, predicted, target = test_row[placed], predicted[placed], target[placed]
        if not len(row) or not len(test_row):
            raise UnitscopeError("no image with a scene in the training or in the test splits")
        folder.mkdir(exist_ok=True)
        what = f"SVM on the metrics of run {run.digest}"
        meter = Meter(progress, folder / "progress.json", {"what": what, "command": command})
        tables: dict[tuple[str | None, str | None], dict[str, np.ndarray]] = {}
        states = {}
        if any("hidden" in pick for pick in picks):
            states["hidden"] = hidden_states(run, layer, hidden)
        labels = speaking_labels(run, layer, per_unit, train, chance)
        for source in sources:
            learned = learned_by(run, source, layer, strategy, iou, train, per_unit, chance)
            for kind, core in cores.items():
                tables[kind, source] = {**metric_features(learned, core.members), **states}
        tables[None, None] = states
        tables[None, "masks"] = {MASKS_ALONE: annotated_concepts(run).toarray()}
        jobs: list[tuple[str | None, str | None, tuple[str, ...]]] = []
        # The hidden state alone knows neither core concepts nor LC(x): it is fitted once.
        jobs += [(None, None, pick) for pick in picks if pick == ("hidden",)]
        jobs += [(None, "masks", (MASKS_ALONE,))] if "masks" in sources else []
        jobs += [
            (kind, source, pick)
            for source in sources
            for kind in cores
            for pick in picks
            if pick != ("hidden",)
        ]
        meter.start("fit", len(jobs) * len(row))
        rows = []
        for job in jobs:
            if stop():
                raise Stopped(STOPPED)
            rows.append(_one(job, tables, row, scene, test_row, seed, folder, meter))
        often = np.bincount(scene)
        result = {
            "digest": digest,
            **{k: v for k, v in facts.items() if k not in ("cores", "code")},
            "dataset": run.dataset,
            "model": run.info["settings"]["model"]["spec"],
            "labels": len(labels),
            "n": len(target),
            "n_train": len(row),
            "unseen": int((~np.isin(target, scene)).sum()),
            "target": target.tolist(),
            "network": predicted.tolist(),
            "majority": int(often.argmax()),
            "rows": rows,
        }
        write_text(final, json.dumps(result, ensure_ascii=False))
        shutil.rmtree(folder, ignore_errors=True)
        return result
    finally:
        lock.release()


def _one(
    job: tuple[str | None, str | None, tuple[str, ...]],
    tables: Mapping[tuple[str | None, str | None], Mapping[str, np.ndarray]],
    row: np.ndarray,
    scene: np.ndarray,
    test_row: np.ndarray,
    seed: int,
    folder: Path,
    meter: Meter,
) -> dict[str, Any]:
    """One SVM, or what it left before the work was stopped."""
    kind, source, pick = job
    done = folder / f"{kind}-{source}-{'+'.join(pick)}.json"
    if done.is_file():
        meter.skip(len(row))
        return read_result(done)
    x = np.hstack([tables[kind, source][group] for group in pick]).astype(np.float64)
    fitted = fit_svm(x[row], scene, x[test_row], seed)
    told = {
        "cc": kind,
        "source": source,
        "groups": list(pick),
        "features": x.shape[1],
        "cost": fitted.cost,
        "validation": fitted.validation,
        "predicted": fitted.predicted.tolist(),
    }
    write_text(done, json.dumps(told))
    meter.step(len(row))
    return told


# -- what came out --------------------------------------------------------------------------


def accuracies(told: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a method, plain data: the majority scene, the network, every SVM.

    method, cc, source, groups, needs_masks (of the test photo), cost, features, validation
    (cross-validated), right, n, accuracy, low, high (Wilson's 95 % interval over test images),
    gain over the network with its paired 95 % interval over images (gain_low, gain_high), and
    over the SVM on the hidden state alone (hidden_gain, hidden_low, hidden_high; None without it).
    """
    target = np.asarray(told["target"])
    network = np.asarray(told["network"]) == target
    rows = [row for row in told["rows"] if row["groups"] == ["hidden"]]
    alone = np.asarray(rows[0]["predicted"]) == target if rows else None
    n = len(target)
    out = []
    said: list[tuple[str, dict[str, Any], np.ndarray]] = [
        ("most frequent scene", {}, np.full(n, told["majority"])),
        ("network", {}, np.asarray(told["network"])),
    ]
    said += [("SVM", row, np.asarray(row["predicted"])) for row in told["rows"]]
    for method, row, predicted in said:
        right = predicted == target
        low, high = interval(int(right.sum()), n)
        gain = _against(right, network)
        hidden = _against(right, alone) if alone is not None else (None, None, None)
        out.append(
            {
                "method": method,
                "cc": row.get("cc"),
                "source": row.get("source"),
                "groups": row.get("groups"),
                "needs_masks": row.get("source") == "masks",
                "cost": row.get("cost"),
                "features": row.get("features"),
                "validation": row.get("validation"),
                "right": int(right.sum()),
                "n": n,
                "accuracy": float(right.mean()),
                "low": low,
                "high": high,
                "gain": gain[0],
                "gain_low": gain[1],
                "gain_high": gain[2],
                "hidden_gain": hidden[0],
                "hidden_low": hidden[1],
                "hidden_high": hidden[2],
            }
        )
    return out


def _against(right: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Share of `right` less that of `other` on the same images, with its 95 % interval."""
    gained, lost = int((right & ~other).sum()), int((other & ~right).sum())
    return (gained - lost) / len(right), *paired_interval(gained, lost, len(right))
