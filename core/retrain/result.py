"""Results of re-trainings, as they stand in their files: plain data, typed."""

from __future__ import annotations

from typing import TypedDict

from core.foundation.plain import Json

CONTROL = "control"
"""Kind of the training with λ = 0: the same budget without L_c."""

# -- re-training via core concepts (Eq. 10) -------------------------------------------------


class Epoch(TypedDict):
    """Mean losses of the training images (L_s, L_c), accuracies of the training and validation
    parts, loss of the validation part."""

    scene_loss: float
    concept_loss: float
    train: float
    validation: float
    validation_loss: float


class Training(TypedDict):
    """One training: kind of golden concepts, λ, seed; accuracies of the best epoch.

    epochs : trained. best_epoch : from 1. curve : by epoch. predicted : classes of the test images.
    """

    cc: str
    weight: float
    seed: int
    epochs: int
    best_epoch: int
    validation: float
    test: float
    curve: list[Epoch]
    predicted: list[int]


class Original(TypedDict):
    """The network before any training: accuracies, and classes of the test images."""

    validation: float
    test: float
    predicted: list[int]


class Golden(TypedDict):
    """Golden concepts of the training images: mean number of an image, images without any,
    different ones in all."""

    per_image: float
    without: int
    concepts: int


class Counts(TypedDict):
    """Images of each part; those that cannot be read, and those whose scene is no class; golden
    concepts by kind."""

    train: int
    validation: int
    test: int
    unreadable: int
    without_class: int
    golden: dict[str, Golden]


class _Weights(TypedDict):
    file: str
    seed: int
    weight: float
    spec: str | None


class Weights(_Weights, total=False):
    """A file of weights: its name, seed and λ, the SPEC that opens it; None, and why, where none
    does."""

    why: str


class RetrainResult(TypedDict):
    """The file ``retrain-<digest>.json``.

    asked : fields of :class:`core.foundation.settings.Retraining`. head : ``own`` or ``new``.
    core : by kind, core concepts of each scene. original : None with a new head.
    test_ids, target : the test images and their classes.
    chosen : λ of each kind with the best mean validation accuracy (the smallest among equals).
    weights : for the control and each kind, of the seed that is best on the validation part.
    """

    digest: str
    asked: Json
    dataset: dict[str, str]
    model: dict[str, str]
    knowledge: str
    classifier: str
    head: str
    preprocessing: Json
    classes: list[str]
    counts: Counts
    core: dict[str, dict[str, list[str]]]
    original: Original | None
    trainings: list[Training]
    test_ids: list[str]
    target: list[int]
    chosen: dict[str, float]
    weights: dict[str, Weights]


# -- re-training via PE (Table 6) -----------------------------------------------------------


class SvmRow(TypedDict):
    """One SVM, as it stands in the result's file.

    cc, source : None where no core concepts are used. features : columns. cost : C.
    validation : accuracy in cross-validation. predicted : scenes of the test images.
    """

    cc: str | None
    source: str | None
    groups: list[str]
    features: int
    cost: float
    validation: float
    predicted: list[int]


class SvmResult(TypedDict):
    """The file ``svm-<digest>.json``.

    labels : how many speak. n, n_train : test and training images. unseen : test images of scenes
        without a training image.
    target : scene of each test image. network, majority : the network's predicted scenes (−1
        where its class is none), and the most frequent training scene.
    rows : first the SVM on the hidden state alone, and on the masks alone where LC(x) from masks
        is among the sources.
    """

    digest: str
    run: str
    layer: str
    train: list[str]
    test: list[str]
    strategy: str
    iou: str
    hidden: str
    sources: list[str]
    groups: list[list[str]]
    per_unit: int
    chance: float
    seed: int
    core_on: str
    computed: dict[str, int]
    versions: list[str]
    dataset: str
    model: str
    labels: int
    n: int
    n_train: int
    unseen: int
    target: list[int]
    network: list[int]
    majority: int
    rows: list[SvmRow]
