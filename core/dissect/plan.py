"""A run before it starts: dataset and network opened, layers found, digest and sizes computed.

Everything that could not run is an error here, before a byte is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import version

import numpy as np
import torch

from core.datasets import open_dataset
from core.datasets.base import Problem, SceneDataset
from core.datasets.loader import shown
from core.datasets.scenes import Match, match_scenes, read_given
from core.dissect.significance import FDR, split_sets
from core.dissect.thresholds import tail_size
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import expanded
from core.foundation.geometry import Preprocessing, default_grid
from core.foundation.plain import Json
from core.foundation.settings import Settings
from core.foundation.trust import source_digest
from core.foundation.versions import versions_of
from core.knowledge.kinds import open_knowledge
from core.models.base import LoadedModel
from core.models.forward import MAP_TYPES, Forward, usable_device
from core.models.head import CLOSE, PROBES, batch_words, rounding
from core.models.hooks import Layer
from core.models.load import load_model
from core.models.untrained import untrained_twin
from core.runs.run_file import NEEDS_NONE

MOST_SHUFFLES = 10_000
"""Rounds of the null distribution that a run may be asked for: each is held in memory."""

BATCH = 32
"""Images a forward pass takes at once. Fixed, and shards are whole batches, so that a network
sees the same batches, and gives the same bytes, whatever the shards are."""

LOOKED_AT = 24
"""Photos whose size, as they are kept to be looked at, is taken for that of all."""

TWIN_PAIRS = 1_000_000
"""Up to so many pairs of an image and a unit the untrained twin is made unless asked otherwise: it
doubles the work of the network and of the counts, not that of decoding photos."""


@dataclass(frozen=True)
class Plan:
    """A run before it starts: everything opened and checked, sizes known.

    Attributes
    ----------
    matches : the class of each scene of the dataset, by name or by the user's table.
    twin : the network untrained, where it is dissected too; twin_why : why there is none.
    map_type : the type in which activations are recorded, decided where the settings leave it.
    by_batch : one sentence where an answer depends on the other photos of its batch, else "".
    notes : what the user should know of the request before it starts.
    sizes : bytes each kind of array will take beside the run.
    facts : what the digest covers, stored in the run.
    allow_loss : whether the run goes on where more than a fifth of the photos cannot be used;
        otherwise it stops once that is known, and a plan that allows it resumes it.
    """

    settings: Settings
    dataset: SceneDataset
    model: LoadedModel
    layers: list[Layer]
    indices: np.ndarray
    grid: tuple[int, int]
    input_size: tuple[int, int]
    outputs: int  # 0 without a classifier
    facts: Json
    digest: str
    matches: list[Match]
    map_type: str
    by_batch: str = ""
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    twin: LoadedModel | None = None
    twin_why: str = ""
    allow_loss: bool = False

    @property
    def categories(self) -> list[str]:
        """Categories of the dataset's pixel annotations, in the order of its channels."""
        return list(dict.fromkeys(channel.category for channel in self.dataset.channels))


def engine_versions(dataset: SceneDataset) -> dict[str, int]:
    """Versions of the computations that decide a run's numbers: a raised one makes a new run."""
    reader = f"reader {dataset.spec.partition(':')[0]}"
    return {**versions_of("decoding", "dissection"), reader: type(dataset).VERSION}


def plan(settings: Settings) -> Plan:
    """Open dataset and network, find the layers, compute digest and sizes.

    Raises UnitscopeError for anything that could not run, before a byte is written.
    """
    dataset = open_dataset(settings.dataset)
    dataset.check()
    model = load_model(settings.model)
    model_digest = model.digest()
    indices = dataset.select(settings.splits or None)
    problems: list[Problem] = []
    given = None
    if settings.scenes:
        given = read_given(expanded(settings.scenes), dataset.scenes, problems)
    # Opened now, so that a mistake in its SPEC is reported before the work, not after it.
    open_knowledge(settings.knowledge)
    photo_size, seen = _few_photos(dataset, indices, model.preprocessing)
    layers = _layers(settings, model, photo_size)
    problems += _check_numbers(settings)
    usable_device(settings.device)
    outputs, no_classifier = _outputs(settings, model, photo_size, given)
    matches = match_scenes(dataset.scenes, model.classes if outputs else [], given)
    twin, twin_why = _twin(settings, model, dataset, len(indices) * sum(s.units for s in layers))
    inputs = Forward(model, []).inputs(np.stack(seen)) if seen and outputs else None
    by_batch = batch_words(model.module, inputs)
    if by_batch:
        by_batch += f"; the network sees batches of {BATCH} in the dataset's order"
    map_type, why_type = _map_type(settings, model, [layer.name for layer in layers], inputs)
    input_size = model.preprocessing.input_size(*photo_size)
    grid = _grid(settings, input_size)
    facts = _facts(settings, dataset, model, model_digest, given, map_type, grid, twin is not None)
    return Plan(
        settings,
        dataset,
        model,
        layers,
        indices,
        grid,
        input_size,
        outputs,
        facts,
        _digest(facts),
        matches,
        map_type,
        by_batch,
        [
            *filter(None, [no_classifier]),
            *dataset.notes,
            *(f"{one.path}: {one.reason}" for one in problems),
            *filter(None, (by_batch, why_type)),
        ],
        _sizes(
            settings,
            dataset,
            layers,
            indices,
            map_type,
            grid,
            outputs,
            twin is not None,
            _photo_bytes(dataset, indices, model.preprocessing),
        ),
        twin,
        twin_why,
    )


def _layers(settings: Settings, model: LoadedModel, photo_size: tuple[int, int]) -> list[Layer]:
    """The layers asked for, or the network's default. Raises for one that there is not."""
    known = {layer.name: layer for layer in model.layers(photo_size)}
    wanted = settings.layers or (model.default_layer,)
    for name in wanted:
        model.check_layer(name, known, photo_size)
    if len(set(wanted)) != len(wanted):
        raise UnitscopeError(f"a layer is named twice: {', '.join(wanted)}")
    return [known[name] for name in wanted]


def _check_numbers(settings: Settings) -> list[Problem]:
    """Notes on the numbers of the request. Raises UnitscopeError where one is out of range."""
    tail_size(settings.q, 1)
    if not 0 <= settings.shuffles <= MOST_SHUFFLES:
        raise UnitscopeError(
            f"{settings.shuffles} shuffles were asked for; 0 or more, up to {MOST_SHUFFLES:,}, "
            "are meant"
        )
    if settings.seed < 0:
        raise UnitscopeError(f"the seed is {settings.seed}; 0 or more is meant")
    if 0 < settings.shuffles < 1 / FDR - 1:
        return [
            Problem(
                "",
                "--shuffles",
                f"after {settings.shuffles} rounds of exchanged masks no "
                f"p-value is below {1 / (1 + settings.shuffles):.2f}, so that no unit can come "
                f"out better than chance; the default is {Settings.shuffles}",
            )
        ]
    return []


def _outputs(
    settings: Settings,
    model: LoadedModel,
    photo_size: tuple[int, int],
    given: dict[str, str] | None,
) -> tuple[int, str]:
    """(number of classes, a note where there are none). Raises where classes are needed."""
    if not settings.classes:
        model.backbone = model.backbone or "its outputs were said to be no classes (--no-classes)"
    outputs, note = model.outputs(photo_size)
    if not outputs:
        note += f"; it is dissected without classes. {NEEDS_NONE}"
        if given:
            raise UnitscopeError(
                f"--scenes says which class a scene is, and here are no classes: {model.backbone}"
            )
    return outputs, note


def _grid(settings: Settings, input_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the working grid."""
    width, height = input_size
    if settings.grid is None:
        return default_grid((width, height))
    if not 1 <= settings.grid <= 4 * max(width, height):
        raise UnitscopeError(f"a working grid of {settings.grid} for an input of {width}×{height}")
    return settings.grid, max(1, round(settings.grid * height / width))


def _facts(
    settings: Settings,
    dataset: SceneDataset,
    model: LoadedModel,
    model_digest: str,
    given: dict[str, str] | None,
    map_type: str,
    grid: tuple[int, int],
    twin: bool,
) -> Json:
    """All that decides the run's numbers, as it is stored in the run."""
    facts: Json = {
        **asdict(settings),
        "map_type": map_type,
        "dataset": {"spec": settings.dataset, "digest": dataset.digest()},
        "model": {"spec": settings.model, "digest": model_digest},
        "layers": list(settings.layers or (model.default_layer,)),
        "preprocessing": model.preprocessing.to_json(),
        "grid": list(grid),
        "device": torch.device(settings.device).type,
        "batch": BATCH,
        "versions": engine_versions(dataset),
        "torch": [version(name) for name in ("torch", "torchvision", "pillow")],
    }
    for what, spec in (("model", settings.model), ("dataset", settings.dataset)):
        code = source_digest(spec)
        if code is not None:
            facts[what]["code"] = code
    if dataset.labels_by:
        facts["dataset"]["labels_by"] = dataset.labels_by
    facts["untrained"] = twin
    # Where files lie does not change what they hold.
    del facts["knowledge"]
    facts["scenes"] = dict(sorted(given.items())) if given else None
    return facts


def hashed(facts: Json) -> Json:
    """What the digest is of: dataset and network enter by their content, not by where they lie."""
    return {**facts, "dataset": facts["dataset"]["digest"], "model": facts["model"]["digest"]}


def _digest(facts: Json) -> str:
    """The run's name."""
    return digest_of(hashed(facts))[:DIGITS]


def _sizes(
    settings: Settings,
    dataset: SceneDataset,
    layers: Sequence[Layer],
    indices: np.ndarray,
    map_type: str,
    grid: tuple[int, int],
    outputs: int,
    twin: bool,
    photos: int,
) -> dict[str, int]:
    """Bytes of each kind of array beside the run, and of what is there only while it is made.

    photos : bytes of those that are kept to be looked at.
    """
    n, item = len(indices), MAP_TYPES[map_type].itemsize
    units = sum(layer.units for layer in layers)
    sizes = {
        "maps": sum(n * s.units * (s.height * s.width + s.beside) * item for s in layers)
        if settings.keep_maps
        else 0,
        "label grids": 2 * n * len(dataset.channels) * grid[0] * grid[1],
        "features and logits": 4 * n * (outputs + 2 * units),
        "photos": photos,
    }
    if settings.shuffles:
        sets = split_sets([dataset.split[i] for i in indices])
        kinds = len({row[2] for row in dataset.concepts}) + bool(dataset.scenes)
        sizes["null distributions"] = 8 * len(sets) * kinds * settings.shuffles * units
        # Active pixels, and the twin's maps, which go when the run is published.
        networks = 2 if twin else 1
        pixels = int(units * networks * settings.q * n * grid[0] * grid[1] * 2)
        sizes["while it is made"] = pixels + (sizes["maps"] if twin else 0)
    return sizes


def _photo_bytes(dataset: SceneDataset, indices: np.ndarray, preprocessing: Preprocessing) -> int:
    """Bytes of the photos that are kept to be looked at, by a few, spread evenly over the run."""
    sizes = []
    for at in np.unique(np.linspace(0, len(indices) - 1, min(LOOKED_AT, len(indices))).astype(int)):
        with suppress(UnitscopeError):
            photo = dataset.photo(int(indices[at]))
            sizes.append(len(shown(photo, preprocessing.view(photo), preprocessing)))
    return int(np.mean(sizes) * len(indices)) if sizes else 0


def _twin(
    settings: Settings, model: LoadedModel, dataset: SceneDataset, pairs: int
) -> tuple[LoadedModel | None, str]:
    """(untrained twin, or why there is none). Raises where it was asked for and cannot be made."""
    why = ""
    if not settings.shuffles:
        why = "the run was made without rounds of exchanged masks (--shuffles 0)"
    elif not dataset.concepts and not dataset.scenes:
        why = "nothing is annotated in this dataset"
    if why:
        if settings.untrained:
            raise UnitscopeError(
                "--untrained compares how many units are better than chance, which cannot be "
                f"measured here: {why}"
            )
        return None, why
    if settings.untrained is False:
        return None, "the run was made with --no-untrained"
    if settings.untrained is None and pairs > TWIN_PAIRS:
        return None, (
            f"it is made unasked up to {TWIN_PAIRS:,} pairs of an image and a unit, and here are "
            f"{pairs:,}; --untrained makes it"
        )
    try:
        return untrained_twin(model, settings.seed), ""
    except UnitscopeError as err:
        if settings.untrained:
            raise
        return None, str(err)


def _few_photos(
    dataset: SceneDataset, indices: np.ndarray, preprocessing: Preprocessing
) -> tuple[tuple[int, int], list[np.ndarray]]:
    """(width, height) of the first photo of a few that the preprocessing can take, and some of
    them as the network sees them, all of one size."""
    first: UnitscopeError | None = None
    size = (640, 480)
    seen: list[np.ndarray] = []
    for index in indices[:16]:
        try:
            photo = dataset.photo(int(index))
            view = np.asarray(preprocessing.view(photo))
        except BadFile:
            continue
        except UnitscopeError as err:
            first = first or err
            continue
        if not seen:
            size = photo.size
        if not seen or view.shape == seen[0].shape:
            seen.append(view)
        if len(seen) == PROBES:
            break
    if first and not seen:
        raise first
    return size, seen


def _map_type(
    settings: Settings, model: LoadedModel, layers: Sequence[str], inputs: torch.Tensor | None
) -> tuple[str, str]:
    """(type in which maps are kept, why that is float32 where it was not asked for).

    Half precision takes half the room. Where what follows a layer is replayed from its maps, it is
    taken only if the rounding moves no logit of a few photos by more than
    :data:`core.models.head.CLOSE` of the largest.
    """
    if settings.map_type != "auto":
        return settings.map_type, ""
    # Whether maps are kept changes no number, so it does not enter.
    if inputs is None or settings.precision != "float32":
        return "float16", ""
    moved = {layer: rounding(model.module, layer, inputs) for layer in layers}
    worst = max(moved, key=lambda layer: moved[layer])
    if moved[worst] <= CLOSE:
        return "float16", ""
    return "float32", (
        f"maps are recorded in single precision: rounded to half, those of {worst} move replayed "
        f"logits by {moved[worst]:.1e} of the largest, and {CLOSE:g} is promised (--map-type "
        "float16 takes half the room)"
    )
