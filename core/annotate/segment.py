"""A segmentation network by its SPEC: labels for photos that nobody annotated.

``torchvision:NAME[:CHECKPOINT]``  of torchvision.models.segmentation; CHECKPOINT is a file, or
                                   ``random`` for untrained weights (to try things out)
``transformers:DIR``               a local folder of the optional package transformers: config.json,
                                   weights, preprocessor_config.json
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from core.annotate.specs import NOTHING, check_spec
from core.datasets.base import CATEGORIES
from core.datasets.files import csv_rows, json_of, text_of
from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.geometry import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from core.foundation.plain import Json
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.fit import fill, settle


class Label(NamedTuple):
    """What one output of the network stands for."""

    name: str
    category: str = "object"


@dataclass
class Segmenter:
    """A segmentation network ready to run.

    Attributes
    ----------
    module : in evaluation mode, float32.
    preprocessing : the whole photo, resized, to the network's input; no crop.
    labels : one an output.
    name : short, without paths of this machine: what figures call it.
    """

    module: nn.Module
    preprocessing: Preprocessing
    labels: list[Label]
    spec: str
    name: str

    def digest(self) -> str:
        """Hex digest over architecture, weights and labels."""
        names = [f"{label.name}\t{label.category}" for label in self.labels]
        return LoadedModel(self.module, self.preprocessing, names, self.spec, "").digest()

    def mask_size(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the mask of a photo: the photo's shape at the scale of the network's
        input, as more would be made up; never larger than the photo.

        >>> steps = Preprocessing(resize=(64, 64), center_crop=None)
        >>> Segmenter(nn.Identity(), steps, [], "", "").mask_size(640, 480)
        (85, 64)
        """
        short = min(width, height)
        scale = min(1.0, min(self.preprocessing.input_size(width, height)) / short)
        return max(1, round(width * scale)), max(1, round(height * scale))

    @torch.inference_mode()
    def scores(self, seen: np.ndarray) -> Tensor:
        """uint8 (photos, height, width, 3) → float32 (photos, labels, h, w), before softmax."""
        device = next(self.module.parameters()).device
        inputs = torch.from_numpy(np.stack([self.preprocessing.normalise(photo) for photo in seen]))
        try:
            out = self.module(inputs.to(device))
        except (RuntimeError, ValueError) as err:
            size = f"{seen.shape[2]}×{seen.shape[1]}"
            result = str(err).splitlines()[0]
            raise UnitscopeError(f"{self.spec!r} does not take photos of {size}: {result}") from err
        if isinstance(out, Tensor):
            scores = out
        else:
            scores = out["out"] if "out" in out else out["logits"]
        if scores.ndim != 4 or scores.shape[1] != len(self.labels):
            raise UnitscopeError(
                f"{self.spec!r} gave {tuple(scores.shape)}; (photos, {len(self.labels)} labels, "
                "height, width) was expected"
            )
        return scores.float()

    def fault(self, scores: Tensor) -> str | None:
        """What is no finite number in a photo's scores (labels, h, w); None where all are."""
        bad = (~torch.isfinite(scores)).nonzero()
        if not len(bad):
            return None
        label = self.labels[int(bad[0, 0])].name
        return (
            f"the network gives {scores[tuple(bad[0])].item()} for label {label!r}, not a finite "
            "number"
        )

    @torch.inference_mode()
    def label_map(
        self, scores: Tensor, size: tuple[int, int], least_confidence: float = 0.0
    ) -> np.ndarray:
        """uint16 (height, width) of label number + 1, 0 = not annotated, from (labels, h, w).

        Scores are brought to `size` (width, height) bilinearly (align_corners=False); a pixel has
        its best label where the softmax gives that at least `least_confidence`.
        """
        width, height = size
        large = interpolate(scores[None], (height, width), mode="bilinear", align_corners=False)[0]
        best = large.argmax(0)
        labels = best.add(1).to(torch.int32)
        left_out = [k for k, label in enumerate(self.labels) if label.name.lower() in NOTHING]
        for k in left_out:
            labels[best == k] = 0
        if least_confidence > 0:
            sure = (large.amax(0) - large.logsumexp(0)).exp()
            labels[sure < least_confidence] = 0
        return labels.cpu().numpy().astype(np.uint16)


def load_segmenter(
    spec: str, labels: Sequence[Label] | None = None, side: int | None = None
) -> Segmenter:
    """Open a segmentation network by its SPEC (see the module's text).

    labels : what its outputs stand for, in place of the names that come with the weights.
    side : shorter side of the photo as the network gets it; its own where None.

    Raises UnitscopeError for an unknown kind or name, weights that are missing or do not fit, a
    missing package, no or another number of names than outputs.
    """
    kind, rest = check_spec(spec)
    if side is not None and side < 16:
        raise UnitscopeError(f"the photo's shorter side must be 16 pixels or more, not {side}")
    found = _torchvision(spec, rest) if kind == "torchvision" else _transformers(spec, rest)
    outputs = len(found.labels)
    if labels is not None:
        if outputs and outputs != len(labels):
            raise UnitscopeError(f"{len(labels)} names for the {outputs} outputs of {spec!r}")
        found.labels = list(labels)
    elif not all(label.name for label in found.labels):
        raise UnitscopeError(
            f"{spec!r} has {outputs} outputs and names none of them: give --classes FILE, a name "
            "a line (`name,category` where it is no object)"
        )
    if side is not None:
        found.preprocessing = Preprocessing(**{**found.preprocessing.to_json(), "resize": side})
    found.module.eval().requires_grad_(False)
    return found


def read_labels_file(path: Path) -> list[Label]:
    """Names of outputs from a text file: ``name`` or ``name,category`` a line, in their order.

    An empty line or ``background`` stands for no label. Raises BadFile for another category.
    """
    rows = [cells for _, cells in csv_rows(path, text_of(path).splitlines())]
    found = []
    for line, cells in enumerate(rows, 1):
        name, category = ([cell.strip() for cell in cells] + ["", ""])[:2]
        category = category.lower().replace("colour", "color") or "object"
        if category not in CATEGORIES or category == "scene":
            raise BadFile(path, f"line {line}: {category!r} is not one of {', '.join(CATEGORIES)}")
        found.append(Label(name, category))
    if not found:
        raise BadFile(path, "names nothing")
    return found


def _torchvision(spec: str, rest: str) -> Segmenter:
    from torchvision import models as zoo
    from torchvision.models import segmentation

    name, _, checkpoint = rest.partition(":")
    names = zoo.list_models(module=segmentation)
    if name not in names:
        raise unknown("segmentation network of torchvision", name, names)
    published = zoo.get_model_weights(name)["DEFAULT"]
    made = published.transforms()
    preprocessing = Preprocessing(
        resize=made.resize_size[0], center_crop=None, mean=tuple(made.mean), std=tuple(made.std)
    )
    file = Path(published.url).name
    categories = [Label(category) for category in published.meta["categories"]]
    if checkpoint == "random":
        torch.manual_seed(0)
        module = zoo.get_model(
            name, weights=None, weights_backbone=None, num_classes=len(categories)
        )
        return Segmenter(module, preprocessing, categories, spec, f"{name}, untrained")
    path = expanded(checkpoint)
    if not checkpoint:
        path = Path(torch.hub.get_dir()) / "checkpoints" / file
        if not path.is_file():
            raise UnitscopeError(
                f"{spec!r} needs torchvision's weights {file}, which are not in {path.parent}; "
                f"fetch {published.url} and give the file as torchvision:{name}:FILE"
            )
    given, notes = read_checkpoint(path)
    with torch.device("meta"):
        probe = zoo.get_model(name, weights=None, weights_backbone=None)
    state, _ = settle(given, probe.state_dict())
    # A second head that helps in training alone.
    state = state.renamed(lambda key: None if key.startswith("aux_classifier.") else key)
    heads = [
        key for key in ("classifier.4.weight", "classifier.high_classifier.weight") if key in state
    ]
    if not heads:
        raise UnitscopeError(f"checkpoint {path} has no segmentation head: it is not a {name}")
    outputs = state[heads[0]].shape[0]
    module = zoo.get_model(name, weights=None, weights_backbone=None, num_classes=outputs)
    fill(module, state, f"checkpoint {path}")
    own = notes.get("classes") or notes.get("categories")
    labels = [Label(str(label)) for label in own or []]
    if not own and path.name == file:
        labels = categories  # torchvision's own weights have torchvision's own names
    if labels and len(labels) != outputs:
        raise UnitscopeError(
            f"checkpoint {path} names {len(labels)} classes but has {outputs} outputs"
        )
    return Segmenter(
        module, preprocessing, labels or [Label("")] * outputs, spec, f"{name} ({path.name})"
    )


def _transformers(spec: str, rest: str) -> Segmenter:
    folder = expanded(rest)
    if not (folder / "config.json").is_file():
        raise UnitscopeError(
            f"{spec!r}: there is no config.json in {folder}; give a local folder as written by "
            "save_pretrained"
        )
    try:
        import transformers
    except ImportError as err:
        raise UnitscopeError(
            f"{spec!r} needs the package transformers: pip install transformers safetensors"
        ) from err
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    safe = any(folder.glob("*.safetensors"))
    try:
        module, result = transformers.AutoModelForSemanticSegmentation.from_pretrained(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            weights_only=True,
            use_safetensors=True if safe else None,
            output_loading_info=True,
        )
    except Exception as err:  # the package raises nearly anything on what it cannot read
        raise UnitscopeError(f"{spec!r} cannot be opened: {str(err).splitlines()[0]}") from err
    missing = sorted(result["missing_keys"])
    if missing:
        raise UnitscopeError(
            f"{spec!r}: its weights lack {', '.join(missing[:4])}"
            + (f" and {len(missing) - 4} more" if len(missing) > 4 else "")
            + ": they are not of a segmentation network"
        )
    config = module.config
    names = [str(config.id2label.get(k, "")) for k in range(config.num_labels)]
    named = not all(name == f"LABEL_{k}" for k, name in enumerate(names))
    labels = [Label(name if named else "") for name in names]
    short = f"{config.model_type} ({folder.resolve().name})"
    return Segmenter(module.float(), _way_of(folder), labels, spec, short)


def _way_of(folder: Path) -> Preprocessing:
    """Size, mean and the like of preprocessor_config.json. Crops and padding are left out: masks
    have to cover the whole photo."""
    path = folder / "preprocessor_config.json"
    result: Json = json_of(path) if path.is_file() else {}
    size = result.get("size", 512)
    if isinstance(size, dict):
        size = (
            (size["width"], size["height"])
            if {"width", "height"} <= size.keys()
            else size.get("shortest_edge", 512)
        )
    else:
        # One number is a square to transformers, but for MobileViT, whose shorter side it is.
        kind = result.get("image_processor_type") or result.get("feature_extractor_type") or ""
        size = size if kind.startswith("MobileViT") else (size, size)
    normal = result.get("do_normalize", True)
    divide = 1.0 / result.get("rescale_factor", 1 / 255) if result.get("do_rescale", True) else 1.0
    return Preprocessing(
        resize=size if result.get("do_resize", True) else None,
        center_crop=None,
        channels="BGR" if result.get("do_flip_channel_order") else "RGB",
        divide=divide,
        mean=tuple(result.get("image_mean") or IMAGENET_MEAN) if normal else (0.0, 0.0, 0.0),
        std=tuple(result.get("image_std") or IMAGENET_STD) if normal else (1.0, 1.0, 1.0),
    )
