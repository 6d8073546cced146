"""``open_clip:MODEL:FILE``: an encoder of the optional package open_clip_torch.

Weights come from a local file alone, which is read without running anything in it; nothing is ever
downloaded. Words are encoded bare, without a sentence around them, as CLIP-Dissect does.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from core.foundation.errors import UnitscopeError, first_line, unknown
from core.foundation.files import expanded
from core.foundation.geometry import Preprocessing
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.labelling.encoders import NetworkEncoder
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.fit import fill, settle

PHOTO_BATCH = 32
"""Photos that go through the network at once."""

WORD_BATCH = 256
"""Words that go through the network at once."""

FORM = "open_clip:MODEL:FILE"

NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size")
"""Plain numbers beside the weights in OpenAI's files."""


class ClipModel(NetworkEncoder):
    """A contrastive network of images and text.

    module : with `encode_image` and `encode_text`. prepare : photo → input (3, height, width).
    tokens : words → int64 (words, length). source : what decides its features beside the weights.
    """

    def __init__(self, spec: str, name: str, module: nn.Module, prepare: Any, tokens: Any, of: str):
        super().__init__(spec, name)
        self.module, self.prepare, self.tokens = module, prepare, tokens
        self._digest = LoadedModel(module, Preprocessing(), [], spec, "", source=of).digest()

    def digest(self) -> str:
        return self._digest

    @torch.inference_mode()
    def encode_photos(self, photos: Sequence[Image.Image]) -> np.ndarray:
        parts = []
        for start in range(0, len(photos), PHOTO_BATCH):
            inputs = [self.prepare(photo) for photo in photos[start : start + PHOTO_BATCH]]
            parts.append(self.module.encode_image(torch.stack(inputs)))  # type: ignore[operator]
        return self._checked(parts)

    @torch.inference_mode()
    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(words), WORD_BATCH):
            tokens = self.tokens(list(words[start : start + WORD_BATCH]))
            parts.append(self.module.encode_text(tokens))  # type: ignore[operator]
        return self._checked(parts)

    def _checked(self, parts: list[torch.Tensor]) -> np.ndarray:
        features: np.ndarray = torch.cat(parts).float().numpy()
        if not np.isfinite(features).all():
            raise UnitscopeError(f"{self.spec!r} gives features that are no finite numbers")
        return features


def open_clip_model(spec: str, rest: str) -> ClipModel:
    """``open_clip:MODEL:FILE``; MODEL is a name of open_clip's own list, FILE a local checkpoint.

    OpenAI's weights belong to the models whose names end in ``-quickgelu``: with the others they
    load as well, and give other features.

    Raises UnitscopeError for a missing package, an unknown name (nearest), a model whose text part
    would have to be downloaded, weights that are not there or do not fit.
    """
    package = optional("open_clip", "encoders open_clip:…", "open_clip_torch")
    name, _, file = rest.partition(":")
    if not name or not file:
        raise UnitscopeError(
            f"{spec!r}: an encoder of open_clip is {FORM}, a local file of weights"
        )
    if name not in package.list_models():
        raise unknown("model of open_clip", name, package.list_models())
    path = expanded(file)
    state, notes = read_checkpoint(path)
    module, tokens = _built(package, name, spec)
    weights = {key: value for key, value in state.items() if key not in NOT_WEIGHTS}
    settled, said = settle(weights, module.state_dict())
    notes |= said
    fill(module, settled, f"checkpoint {path}")
    module.eval().requires_grad_(False)
    transform = package.transform
    way = transform.PreprocessCfg(**module.visual.preprocess_cfg)  # type: ignore[union-attr,arg-type]
    prepare = transform.image_transform_v2(way, is_train=False)
    of = f"open_clip {package.__version__} {way}"
    return ClipModel(spec, f"{name} ({path.name})", module, prepare, tokens, of)


def _built(package: ModuleType, name: str, spec: str) -> tuple[nn.Module, Any]:
    """(the network without weights, its tokenizer). Raises where a part lies elsewhere."""
    config: Json = package.get_model_config(name)
    text = config.get("text_cfg", {})
    elsewhere = text.get("hf_model_name") or text.get("hf_tokenizer_name")
    if elsewhere:
        raise UnitscopeError(
            f"{spec!r}: the text part of {name} is built from {elsewhere}, which open_clip would "
            "download, and nothing is downloaded here; take a model with open_clip's own text part"
        )
    try:
        module: nn.Module = package.create_model(
            name, pretrained=None, load_weights=False, pretrained_text=False, precision="fp32"
        )
        return module, package.get_tokenizer(name)
    except Exception as err:  # the package raises nearly anything
        raise UnitscopeError(f"{spec!r} cannot be built by open_clip: {first_line(err)}") from err
