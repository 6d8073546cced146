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

They are compared with an SVM on ``annotated``, which concepts the masks of the photo hold at all:
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
from typing import Any, Unpack, cast

import numpy as np
from scipy import sparse, stats

from core.explain.account import scenes_of
from core.explain.learned import learned_concepts, stand_in_concepts
from core.explain.metrics import consistency, difference, similarity
from core.explain.photo import CHANCE, speaking_labels
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import ProcessLock, read_result, write_text
from core.foundation.intervals import interval, paired_interval
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never
from core.foundation.settings import CACHE
from core.foundation.versions import versions_of
from core.knowledge.core_concepts import Annotated, CoreConcepts
from core.retrain.result import SvmResult, SvmRow
from core.runs.run_file import Run, known_values

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


@dataclass(frozen=True)
class SvmSettings:
    """All that decides the numbers of the SVMs, besides the run and the core concepts.

    Attributes
    ----------
    train, test : splits to fit on and to judge on.
    layer, strategy, iou : of LC(x) by masks; the run's default layer where None.
    hidden : see :func:`hidden_states`.
    sources : of :data:`SOURCES`. groups : choices of :data:`GROUPS`; all where empty.
    per_unit, chance : labels a unit may speak for, see
        :func:`core.explain.photo.speaking_labels`.
    seed : of the parts of the cross-validation.
    core_on : images whose annotations core concepts were made from; only noted in the result.
    """

    train: Sequence[str] = ("train",)
    test: Sequence[str] = ("test",)
    layer: str | None = None
    strategy: str = "minmax_threshold"
    iou: str = "image"
    hidden: str = "layer"
    sources: Sequence[str] = tuple(SOURCES)
    groups: Sequence[tuple[str, ...]] = ()
    per_unit: int = 1
    chance: float = CHANCE
    seed: int = 0
    core_on: str = "train"

    @property
    def picks(self) -> list[tuple[str, ...]]:
        """The choices of groups."""
        return list(self.groups) or subsets()

    def check(self, run: Run) -> None:
        """Raises UnitscopeError for an unknown group, source or split, and where a split is both
        fitted and judged on."""
        for pick in self.picks:
            for group in pick:
                if group not in GROUPS:
                    raise unknown("group of features", group, GROUPS)
        for source in self.sources:
            if source not in SOURCES:
                raise unknown("source of learned concepts", source, SOURCES)
        for splits in (self.train, self.test):
            known_values(run, "split", "images", splits)
        if set(self.train) & set(self.test):
            raise UnitscopeError(
                f"train {list(self.train)} and test {list(self.test)} share a split"
            )


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


def learned_by(run: Run, source: str, asked: SvmSettings) -> sparse.csr_array:
    """LC(x) of every image of a run, bool (images, concepts), from a source of :data:`SOURCES`."""
    if source == "masks":
        return learned_concepts(run, asked.layer, asked.strategy, asked.iou).has
    if source != "labels":
        raise unknown("source of learned concepts", source, SOURCES)
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    number = run.layer(asked.layer)
    units = int(run.sql("SELECT units FROM layers ORDER BY layer")["units"].iloc[number])
    hits = run.sql("SELECT image, unit FROM hits WHERE layer = ?", [number])
    active = np.zeros((len(images), units), bool)
    active[np.searchsorted(images, hits["image"]), hits["unit"]] = True
    concepts = run.sql("SELECT count(*) AS n FROM concepts WHERE category <> 'scene'")["n"][0]
    labels = speaking_labels(run, asked.layer, asked.per_unit, asked.train, asked.chance)
    return sparse.csr_array(stand_in_concepts(labels, active, int(concepts)))


def annotated_concepts(run: Run) -> sparse.csr_array:
    """Which concepts are annotated in each image of a run: bool (images, concepts), colours and
    scenes left out."""
    annotated = Annotated.from_run(run)
    return sparse.csr_array(annotated.has[:, np.flatnonzero(annotated.eligible)])


def retrain_pe(
    run: Run,
    cores: Mapping[str, CoreConcepts],
    asked: SvmSettings | None = None,
    root: Path = CACHE,
    *,
    command: str = "",
    fresh: bool = False,
    **hooks: Unpack[Hooks],
) -> SvmResult:
    """SVMs on every choice of features, with the network's own accuracy to compare with.

    Parameters
    ----------
    cores : core concepts by kind, for an honest figure made from the training images alone.
    root : where ``svm-<digest>.json`` lies; a finished one is read, a stopped one resumed.
    command : the command line that resumes it, left in the heartbeat.
    fresh : throw away an earlier or stopped one of the same digest.

    Images without a scene are left out. Raises UnitscopeError for an unknown split, layer, …, or
    where no image is left.
    """
    asked = asked or SvmSettings()
    asked.check(run)
    run.need_answers("the SVM of Table 6, compared with the network,")
    facts = _facts(run, asked)
    inputs = {
        kind: [core.scenes, core.concepts, np.argwhere(core.members).tolist()]
        for kind, core in cores.items()
    }
    digest = digest_of({**facts, "cores": inputs})[:DIGITS]
    final, folder = root / f"svm-{digest}.json", root / f"svm-{digest}.partial"
    root.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(
        root / f"svm-{digest}.lock", f"svm-{digest} is already running in another process"
    )
    try:
        if fresh:
            final.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        if final.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # killed when all but that was done
            return cast(SvmResult, read_result(final))
        parts = _Parts.of(run, asked)
        folder.mkdir(exist_ok=True)
        what = f"SVM on the metrics of run {run.digest}"
        beat = {"what": what, "command": command}
        meter = Meter(hooks.get("progress"), folder / "progress.json", beat)
        tables = _tables(run, cores, asked)
        jobs = _jobs(cores, asked)
        meter.start("fit", len(jobs) * len(parts.row))
        stop = hooks.get("stop", never)
        rows = []
        for job in jobs:
            if stop():
                raise Stopped(STOPPED)
            rows.append(_one(job, tables, parts, asked.seed, folder, meter))
        labels = speaking_labels(run, asked.layer, asked.per_unit, asked.train, asked.chance)
        result = {
            "digest": digest,
            **facts,
            "dataset": run.dataset,
            "model": run.settings.model.spec,
            "labels": len(labels),
            "n": len(parts.target),
            "n_train": len(parts.row),
            "unseen": int((~np.isin(parts.target, parts.scene)).sum()),
            "target": parts.target.tolist(),
            "network": parts.predicted.tolist(),
            "majority": int(np.bincount(parts.scene).argmax()),
            "rows": rows,
        }
        write_text(final, json.dumps(result, ensure_ascii=False))
        shutil.rmtree(folder, ignore_errors=True)
        return cast(SvmResult, result)
    finally:
        lock.release()


def _facts(run: Run, asked: SvmSettings) -> Json:
    """What decides the result, as it stands there."""
    return {
        "run": run.digest,
        "layer": run.layer_names[run.layer(asked.layer)],
        "train": list(asked.train),
        "test": list(asked.test),
        "strategy": asked.strategy,
        "iou": asked.iou,
        "hidden": asked.hidden,
        "sources": list(asked.sources),
        "groups": [list(pick) for pick in asked.picks],
        "per_unit": asked.per_unit,
        "chance": asked.chance,
        "seed": asked.seed,
        "core_on": asked.core_on,
        "computed": versions_of("SVM", "explanation", "dissection", "replay"),
        "versions": [version(name) for name in ("scikit-learn", "numpy", "scipy")],
    }


@dataclass(frozen=True)
class _Parts:
    """Images with a scene: rows and scenes of those fitted on; rows, predicted and true scenes of
    those judged on."""

    row: np.ndarray
    scene: np.ndarray
    test_row: np.ndarray
    predicted: np.ndarray
    target: np.ndarray

    @classmethod
    def of(cls, run: Run, asked: SvmSettings) -> _Parts:
        """Raises UnitscopeError where one of them is empty."""
        row, _, scene = scenes_of(run, asked.train)
        test_row, predicted, target = scenes_of(run, asked.test)
        placed, judged = scene >= 0, target >= 0
        if not placed.any() or not judged.any():
            raise UnitscopeError("no image with a scene in the training or in the test splits")
        return cls(row[placed], scene[placed], test_row[judged], predicted[judged], target[judged])


Job = tuple[str | None, str | None, tuple[str, ...]]
"""(kind of core concepts, source of LC(x), groups of features) of one SVM."""

Tables = Mapping[tuple[str | None, str | None], Mapping[str, np.ndarray]]
"""(kind, source) → group → features of every image."""


def _tables(run: Run, cores: Mapping[str, CoreConcepts], asked: SvmSettings) -> Tables:
    tables: dict[tuple[str | None, str | None], dict[str, np.ndarray]] = {}
    states = {}
    if any("hidden" in pick for pick in asked.picks):
        states["hidden"] = hidden_states(run, asked.layer, asked.hidden)
    for source in asked.sources:
        learned = learned_by(run, source, asked)
        for kind, core in cores.items():
            tables[kind, source] = {**metric_features(learned, core.members), **states}
    tables[None, None] = states
    tables[None, "masks"] = {MASKS_ALONE: annotated_concepts(run).toarray()}
    return tables


def _jobs(cores: Mapping[str, CoreConcepts], asked: SvmSettings) -> list[Job]:
    # The hidden state alone knows neither core concepts nor LC(x): it is fitted once.
    jobs: list[Job] = [(None, None, pick) for pick in asked.picks if pick == ("hidden",)]
    jobs += [(None, "masks", (MASKS_ALONE,))] if "masks" in asked.sources else []
    jobs += [
        (kind, source, pick)
        for source in asked.sources
        for kind in cores
        for pick in asked.picks
        if pick != ("hidden",)
    ]
    return jobs


def _one(job: Job, tables: Tables, parts: _Parts, seed: int, folder: Path, meter: Meter) -> SvmRow:
    """One SVM, or what it left before the work was stopped."""
    kind, source, pick = job
    done = folder / f"{kind}-{source}-{'+'.join(pick)}.json"
    if done.is_file():
        meter.skip(len(parts.row))
        return cast(SvmRow, read_result(done))
    x = np.hstack([tables[kind, source][group] for group in pick]).astype(np.float64)
    fitted = fit_svm(x[parts.row], parts.scene, x[parts.test_row], seed)
    row: SvmRow = {
        "cc": kind,
        "source": source,
        "groups": list(pick),
        "features": x.shape[1],
        "cost": fitted.cost,
        "validation": fitted.validation,
        "predicted": fitted.predicted.tolist(),
    }
    write_text(done, json.dumps(row))
    meter.step(len(parts.row))
    return row


# -- what came out --------------------------------------------------------------------------


@dataclass(frozen=True)
class MethodAccuracy:
    """How often one method names the scene of a test image.

    Attributes
    ----------
    method : "most frequent scene", "network" or "SVM"; the next entries are of SVMs alone.
    cc : kind of core concepts. source : of LC(x). groups : of features. needs_masks : of the test
        photo. cost : C. features : how many. validation : cross-validated accuracy.
    right, n, accuracy : of test images. low, high : Wilson's 95 % interval over them.
    gain, gain_low, gain_high : over the network, with its paired 95 % interval over images.
    hidden_gain, hidden_low, hidden_high : the same over the SVM on the hidden state alone; None
        without it.
    """

    method: str
    cc: str | None
    source: str | None
    groups: list[str] | None
    needs_masks: bool
    cost: float | None
    features: int | None
    validation: float | None
    right: int
    n: int
    accuracy: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    hidden_gain: float | None
    hidden_low: float | None
    hidden_high: float | None


def accuracies(result: SvmResult) -> list[MethodAccuracy]:
    """The majority scene, the network, and every SVM of a result."""
    target = np.asarray(result["target"])
    network = np.asarray(result["network"]) == target
    rows = [row for row in result["rows"] if row["groups"] == ["hidden"]]
    alone = np.asarray(rows[0]["predicted"]) == target if rows else None
    n = len(target)
    out = []
    compared: list[tuple[str, Mapping[str, Any], np.ndarray]] = [
        ("most frequent scene", {}, np.full(n, result["majority"])),
        ("network", {}, np.asarray(result["network"])),
    ]
    compared += [("SVM", row, np.asarray(row["predicted"])) for row in result["rows"]]
    for method, row, predicted in compared:
        right = predicted == target
        low, high = interval(int(right.sum()), n)
        hidden = _against(right, alone) if alone is not None else (None, None, None)
        out.append(
            MethodAccuracy(
                method,
                row.get("cc"),
                row.get("source"),
                row.get("groups"),
                row.get("source") == "masks",
                row.get("cost"),
                row.get("features"),
                row.get("validation"),
                int(right.sum()),
                n,
                float(right.mean()),
                low,
                high,
                *_against(right, network),
                *hidden,
            )
        )
    return out


def _against(right: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Share of `right` less that of `other` on the same images, with its 95 % interval."""
    gained, lost = int((right & ~other).sum()), int((other & ~right).sum())
    return (gained - lost) / len(right), *paired_interval(gained, lost, len(right))
