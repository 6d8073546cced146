"""Metadata in weight files: architecture, class names, preprocessing.

Training code stores these at the top level of a checkpoint or one level below (:data:`NESTED`):
timm's and torchvision's scripts under ``args``, Lightning under ``hyper_parameters``, MMPretrain
under
``meta``, others under ``config``. Unambiguous values are used, and noted; contradictory or
ambiguous values are an error that asks the user to decide. ``NAME.unitscope.json`` next to the file
overrides what the file says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import Preprocessing
from core.foundation.names import readable
from core.foundation.plain import Json

NESTED = (
    "args",
    "hyper_parameters",
    "hparams",
    "config",
    "cfg",
    "opt",
    "pretrained_cfg",
    "default_cfg",
    "data_config",
    "meta",
)
"""Entries of a checkpoint that are looked into, one level deep."""

ENDINGS = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".safetensors")
"""Of files of weights, one behind the other; what is before them names what lies beside."""

BESIDE = {
    "classes": (list, "a list of names in the order of the outputs"),
    "preprocessing": (dict, "an object with steps"),
    "default_layer": (str, "a layer's dotted name"),
    "arch": (str, "the name of an architecture"),
}
"""Entries that ``NAME.unitscope.json`` may have, of which kind, and that in words."""

_ARCHITECTURE = ("arch", "architecture", "model", "model_name", "backbone")

_NAMES_IN_ORDER = ("classes", "CLASSES", "class_names", "label_names")
_NAME_OF_INDEX = ("idx_to_class", "id2label")
_INDEX_OF_NAME = ("class_to_idx", "label2id")
_CLASSES = (*_NAMES_IN_ORDER, *_NAME_OF_INDEX, *_INDEX_OF_NAME)

_PREPARED = {
    "mean": "mean",
    "image_mean": "mean",
    "std": "std",
    "image_std": "std",
    "interpolation": "interpolation",
    "resize": "resize",
    "resize_size": "resize",
    "val_resize_size": "resize",
    "center_crop": "center_crop",
    "crop_size": "center_crop",
    "val_crop_size": "center_crop",
    "img_size": "size",
    "image_size": "size",
    "input_size": "size",
    "crop_pct": "crop_pct",
    "crop_mode": "crop_mode",
}
"""What words of preprocessing mean. ``size`` is that of the network's input, ``crop_pct`` its
share of the resized photo, ``crop_mode`` timm's; the others are steps of a Preprocessing. The
plain word ``size`` means too many things and is not read."""

_STEPS = tuple(Preprocessing().to_json())

_TOP = ("crop", "resize", "center_crop", "mean", "std")
"""Steps that a file may have at its top, as they are in a Preprocessing."""

_SETTLED_BY = {
    "resize": ("resize", "crop_pct", "crop_mode"),
    "center_crop": ("center_crop", "size"),
}
"""What a step beside the file makes needless to know, beyond what the file says of that step."""


def beside_of(path: Path) -> Path:
    """Path of the user's metadata for a checkpoint: ``NAME.unitscope.json``.

    >>> beside_of(Path("w.pth.tar")).name, beside_of(Path("m.safetensors.index.json")).name
    ('w.unitscope.json', 'm.unitscope.json')
    """
    name = path.name.removesuffix(".index.json")
    while (stem := Path(name)).suffix in ENDINGS:
        name = stem.stem
    return path.with_name(f"{name}.unitscope.json")


def _sources(notes: Mapping[str, Any]) -> Iterator[tuple[str, Json]]:
    """(prefix of its entries' names, dict) of the file and of each nested dict that is searched."""
    yield "", notes  # type: ignore[misc]
    for name in NESTED:
        if isinstance(notes.get(name), dict):
            yield f"{name}.", notes[name]
    meta = notes.get("meta")
    if isinstance(meta, dict) and isinstance(meta.get("dataset_meta"), dict):
        yield "meta.dataset_meta.", meta["dataset_meta"]


def corrected(notes: Json, beside: Json) -> Json:
    """The metadata of a file, overridden by the user's (checked)."""
    steps = beside.get("preprocessing", {})
    meant = {step for step in steps} | {m for s in steps for m in _SETTLED_BY.get(s, ())}
    words = {word for word, meaning in _PREPARED.items() if meaning in meant}
    words |= {"crop"} & set(steps)
    words |= set(_CLASSES) if "classes" in beside else set()
    words |= set(_ARCHITECTURE) if "arch" in beside else set()

    def without(result: Json) -> Json:
        return {
            key: without(value)
            if isinstance(value, dict) and key in (*NESTED, "dataset_meta", "preprocessing")
            else value
            for key, value in result.items()
            if key not in words
        }

    left = without(notes)
    if "preprocessing" in beside:
        own = left.get("preprocessing")
        left["preprocessing"] = {**(own if isinstance(own, dict) else {}), **steps}
    return {**left, **{k: v for k, v in beside.items() if k != "preprocessing"}}


# -- architecture -----------------------------------------------------------------------------


def architectures(notes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(where it is stated, name) of every architecture that a checkpoint names.

    >>> architectures({"arch": "resnet18", "args": {"model": "resnet18", "lr": 0.1}})
    [('arch', 'resnet18'), ('args.model', 'resnet18')]
    """
    return [
        (prefix + word, result[word])
        for prefix, result in _sources(notes)
        for word in _ARCHITECTURE
        if isinstance(result.get(word), str) and result[word]
    ]


def transforms_input(notes: Mapping[str, Any]) -> tuple[str, bool] | None:
    """(where it is said, whether) a network normalises its input again, as torchvision's
    Inception may; None where a checkpoint does not say."""
    for prefix, result in _sources(notes):
        if isinstance(result.get("transform_input"), bool):
            return f"{prefix}transform_input", result["transform_input"]
    return None


# -- classes ----------------------------------------------------------------------------------


def classes_of(notes: Json, path: Path) -> list[str]:
    """Class names in a checkpoint, in the order of its outputs; [] if it has none.

    Taken out of the notes: a list, or a dict {index: name} or {name: index}, under one of
    ``classes``, ``class_names``, ``label_names``, ``idx_to_class``, ``id2label``,
    ``class_to_idx``, ``label2id``, at the top or one level down. Raises UnitscopeError where a
    dict does not number its classes from 0 without a gap, and where two such entries disagree.

    >>> classes_of({"class_to_idx": {"barn": 1, "attic": 0}}, Path("w.pt"))
    ['attic', 'barn']
    >>> classes_of({"config": {"id2label": {"1": "barn", "0": "attic"}}}, Path("w.pt"))
    ['attic', 'barn']
    """
    found: list[tuple[str, list[str]]] = []
    for prefix, result in _sources(notes):
        for word in _CLASSES:
            # A number of classes (`classes: 27`) or a file's name is none of their names.
            if isinstance(result.get(word), (list, tuple, Mapping)) and result[word]:
                named = _ordered(prefix + word, result.pop(word), path)
                found.append((prefix + word, named))
    for where, names in found[1:]:
        if names != found[0][1]:
            at, (one, other) = next(
                (k, pair) for k, pair in enumerate(_pairs(found[0][1], names)) if pair[0] != pair[1]
            )
            raise UnitscopeError(
                f"checkpoint {path} names its classes twice, and not alike: class {at} is "
                f"{one!r} by {found[0][0]} and {other!r} by {where}. The order of the training "
                f'data\'s folders decides; put the right list, {{"classes": […]}}, into '
                f"{beside_of(path).name} beside it"
            )
    return found[0][1] if found else []


def _pairs(one: list[str], other: list[str]) -> Iterator[tuple[str | None, str | None]]:
    for k in range(max(len(one), len(other))):
        yield (one[k] if k < len(one) else None), (other[k] if k < len(other) else None)


def _ordered(where: str, given: Any, path: Path) -> list[str]:
    """Names in the order of their numbers, by the list or dict that `where` holds."""
    if not isinstance(given, Mapping):
        if any(isinstance(name, (list, tuple, Mapping)) or name is None for name in given):
            raise UnitscopeError(
                f"checkpoint {path}: {where} is meant to list class names, as text"
            )
        return [readable(str(name)) for name in given]
    word = where.rpartition(".")[2]
    by_key = _numbered([(k, v) for k, v in given.items()])
    by_value = _numbered([(v, k) for k, v in given.items()])
    if word in _NAME_OF_INDEX:
        by_value = None
    elif word in _INDEX_OF_NAME:
        by_key = None
    if by_key is not None and by_value is not None and by_key != by_value:
        raise UnitscopeError(
            f"checkpoint {path}: {where} has numbers on both sides, so that it may be read as "
            f"{{index: name}} and as {{name: index}}; call it idx_to_class or class_to_idx, or "
            f'put {{"classes": […]}} into {beside_of(path).name} beside it'
        )
    names = by_key if by_key is not None else by_value
    if names is None:
        form = '{"attic": 0, …}' if word in _INDEX_OF_NAME else '{"0": "attic", …}'
        raise UnitscopeError(
            f"the checkpoint's {where} does not number its classes: {form} is meant, with every "
            f'number from 0 to {len(given) - 1} once; or put {{"classes": […]}} into '
            f"{beside_of(path).name} beside it"
        )
    return names


def _numbered(pairs: list[tuple[Any, Any]]) -> list[str] | None:
    """Names by their number, None where the numbers are not 0, 1, 2, …, each once."""
    of: dict[int, str] = {}
    for number, name in pairs:
        if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 9:
            number = int(number)
        if isinstance(number, bool) or not isinstance(number, int):
            return None
        if name is None or isinstance(name, (list, tuple, Mapping)):
            return None
        of[number] = readable(str(name))
    # Never a list as long as a number in the file says.
    return [of[k] for k in range(len(pairs))] if of.keys() == set(range(len(pairs))) else None


# -- preprocessing ----------------------------------------------------------------------------


@dataclass
class Prepared:
    """Preprocessing as stated in a checkpoint; see :func:`prepared`.

    Attributes
    ----------
    steps : steps of a Preprocessing, as they are.
    size : side of the network's input.
    crop_pct, crop_mode : which share of the resized photo that is, and timm's resize mode.
    origins : where each of these is said.
    unused : entries that were found but not understood, in words.
    """

    steps: Json = field(default_factory=dict)
    size: int | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def config(self) -> Json:
        """Size, share and mode as timm's data configuration has them."""
        side = self.size
        if side is None and self.crop_pct is not None:
            side = self.steps.get("center_crop")
        result = {
            "input_size": None if side is None else (3, *_both(side)[::-1]),
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
        }
        return {key: value for key, value in result.items() if value is not None}

    def onto(self, usual: Preprocessing) -> Preprocessing:
        """The architecture's usual preprocessing, overridden by the checkpoint's.

        A size of the input without a resize keeps the usual share: 160 for 224 cut from 256 is
        cut from ⌊160 · 256 / 224⌋ = 182. Raises UnitscopeError for a step that is not what such
        a step can be.

        >>> Prepared(size=160).onto(Preprocessing()).resize
        182
        """
        result, derived = self.config(), {}
        side = result.get("input_size", (3, *_both(usual.center_crop)[::-1]))[:0:-1]
        if result and None not in side:
            if self.crop_mode == "border" and not {"resize", "center_crop"} <= set(self.steps):
                raise UnitscopeError(
                    f"the checkpoint says crop_mode 'border' ({self.origins['crop_mode']}), which "
                    "pads photos; give a preprocessing with resize and center_crop beside it, in "
                    "NAME.unitscope.json"
                )
            whole, part = _both(usual.resize), _both(usual.center_crop)
            share = [
                self.crop_pct
                or (1.0 if whole[k] is None or part[k] is None else part[k] / whole[k])
                for k in (0, 1)
            ]
            sides = (_resized(side[0], share[0]), _resized(side[1], share[1]))
            squash = isinstance(usual.resize, tuple)
            squash = squash if self.crop_mode is None else self.crop_mode == "squash"
            derived = {"center_crop": side, "resize": sides if squash else min(sides)}
            if side[0] == side[1]:
                derived["center_crop"] = side[0]
        return self.over(Preprocessing.from_json({**usual.to_json(), **derived}))

    def over(self, usual: Preprocessing) -> Preprocessing:
        """`usual`, which heeds :meth:`config`, with the checkpoint's own steps in place."""
        return Preprocessing.from_json({**usual.to_json(), **self.steps})

    def words(self, used: Preprocessing) -> str:
        """Which steps of the preprocessing `used` come from the checkpoint, and where it states
        them; "" if none do."""
        values = {
            **self.steps,
            "size": self.size,
            "crop_pct": self.crop_pct,
            "crop_mode": self.crop_mode,
        }
        result = [f"{k} {_shown(values[k])} ({where})" for k, where in self.origins.items()]
        if self.config() and "resize" not in self.steps:
            result.append(
                f"so resize {_shown(used.resize)}, center_crop {_shown(used.center_crop)}"
            )
        return "; ".join([*result, *(f"not used: {what}" for what in self.unused)])


def _both(side: Any) -> Any:
    """(width, height) of a step that may be one number for both."""
    return side if isinstance(side, tuple) else (side, side)


def _resized(side: int, share: float) -> int:
    # As timm: cut off. What is a whole number but for the last bits of the division is one.
    return math.floor(side / share + 1e-9)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def prepared(notes: Mapping[str, Any], path: Path) -> Prepared:
    """Read the preprocessing stated in a checkpoint.

    Read are ``preprocessing``, a dict with steps of a Preprocessing, the same steps and the words
    of :data:`_PREPARED` at the top of the file, and these words one level down. Entries that are
    empty or None say nothing. Raises UnitscopeError for an unknown step of ``preprocessing``,
    where two entries disagree, and where one has two readings (height or width first).
    """
    found: dict[str, tuple[Any, str]] = {}
    unused: list[str] = []

    def say(meaning: str, value: Any, where: str) -> None:
        if meaning not in found:
            found[meaning] = value, where
        elif not _same(found[meaning][0], value):
            raise _disagree(path, meaning, found[meaning], (value, where))

    own = notes.get("preprocessing")
    sources = [("preprocessing.", own if isinstance(own, dict) else {}), *_sources(notes)]
    for prefix, result in sources:
        as_they_are = {"preprocessing.": _STEPS, "": _TOP}.get(prefix, ())
        for word, value in result.items():
            where = prefix + word
            if word in as_they_are:
                say(word, tuple(value) if isinstance(value, list) else value, where)
            elif word in _PREPARED and value not in (None, "", [], "random"):
                read = _READ[_PREPARED[word]](value, where, path)
                if read is None:
                    unused.append(f"{where} {str(value)[:40]!r}")
                else:
                    say(_PREPARED[word], read, where)
            elif word not in _PREPARED and prefix == "preprocessing.":
                raise unknown("step of the checkpoint's preprocessing", word, _STEPS)
    return _consistent(found, unused, path)


def _consistent(found: dict[str, tuple[Any, str]], unused: list[str], path: Path) -> Prepared:
    """The same, after checking that entries with the same meaning agree."""
    steps = {meaning: value for meaning, (value, _) in found.items() if meaning in _STEPS}
    size, share, mode = (found.get(k, (None, ""))[0] for k in ("size", "crop_pct", "crop_mode"))
    if size is not None and "center_crop" in steps and not _same(size, steps["center_crop"]):
        raise _disagree(path, "center_crop", found["size"], found["center_crop"])
    if size is not None and "resize" in steps:
        steps["center_crop"] = size
    crop = size if size is not None else steps.get("center_crop")
    if share is not None and "resize" in steps:
        sides = [
            _resized(side, share)
            for side in (crop if isinstance(crop, tuple) else (crop,))
            if side is not None
        ]
        given = steps["resize"]
        if sides and not _same(min(sides), given[0] if isinstance(given, tuple) else given):
            where = f"{found['crop_pct'][1]} {share} of {_shown(crop)}"
            raise _disagree(path, "resize", found["resize"], (min(sides), where))
        share = mode = None
    mean, std = found.get("mean"), found.get("std")
    if mean is not None and "divide" not in steps and _beyond_one(mean[0]):
        if std is None:
            raise UnitscopeError(
                f"checkpoint {path}: {mean[1]} is {_shown(mean[0])}, of pixels from 0 to 255, and "
                "there is no deviation with it. Put both, mean and std of pixels from 0 to 1, "
                f"into {beside_of(path).name} beside it, under preprocessing"
            )
        # Both are of pixels 0…255, which are then not divided.
        steps["divide"] = 1.0
        found["divide"] = 1.0, mean[1]
    return Prepared(steps, size, share, mode, {k: where for k, (_, where) in found.items()}, unused)


def _beyond_one(mean: Any) -> bool:
    return isinstance(mean, tuple) and any(isinstance(v, Real) and float(v) > 1 for v in mean)


def _same(one: Any, other: Any) -> bool:
    """Whether two values of a step are the same: 224 is (224, 224), 0.485 its nearest float32."""
    if isinstance(one, tuple) != isinstance(other, tuple):
        several, single = (one, other) if isinstance(one, tuple) else (other, one)
        return all(_same(v, single) for v in several)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Real) and isinstance(other, Real):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)


def _disagree(
    path: Path, meaning: str, one: tuple[Any, str], other: tuple[Any, str]
) -> UnitscopeError:
    step = {"size": "center_crop", "crop_pct": "resize", "crop_mode": "resize"}.get(meaning)
    form = json.dumps({"preprocessing": {step or meaning: one[0] if step != "resize" else "…"}})
    return UnitscopeError(
        f"checkpoint {path} says two things of how photos are prepared: {meaning} is "
        f"{_shown(one[0])} ({one[1]}) and {_shown(other[0])} ({other[1]}). What the training code "
        f"did when it evaluated decides; put that into {beside_of(path).name} beside it, as in "
        f"{form}"
    )


def _read_colours(value: Any, least: float = -math.inf) -> tuple[float, ...] | None:
    """Three numbers; one in a list counts for all three, as timm has it."""
    several = list(value) if isinstance(value, (list, tuple)) else []
    fits = all(isinstance(v, Real) and not isinstance(v, bool) for v in several)
    if (
        not fits
        or len(several) not in (1, 3)
        or not all(math.isfinite(v) and v > least for v in several)
    ):
        return None
    return tuple(float(v) for v in several) * (3 // len(several))


def _read_side(value: Any, where: str, path: Path, exact: bool) -> Any:
    """A number of pixels. Of a list, the sides beside the 3 colours; two different sides are an
    error, since some programs put height first and others width. Two like sides are `exact`ly that
    size, or else one side."""

    def whole(v: Any) -> bool:
        return isinstance(v, Integral) and not isinstance(v, bool) and 0 < int(v) < 2**16

    if whole(value):
        return int(value)
    sides = list(value) if isinstance(value, (list, tuple)) else []
    if not all(map(whole, sides)) or len(sides) not in (1, 2, 3):
        return None
    if len(sides) == 3:
        if sides[0] in (1, 3) and sides[1] > 4:
            colours, sides = sides[0], sides[1:]
        elif sides[2] in (1, 3):
            colours, sides = sides[2], sides[:2]
        else:
            return None
        if colours != 3:
            raise UnitscopeError(
                f"checkpoint {path}: the network takes {colours} colour channels ({where}); photos "
                "have 3 (RGB)"
            )
    if len(set(sides)) == 1:
        return (sides[0], sides[0]) if exact and len(sides) == 2 else int(sides[0])
    a, b = sides
    raise UnitscopeError(
        f"checkpoint {path}: {where} is {_shown(value)}, and whether the width is {b} (as "
        f"PyTorch's programs write it) or {a} is not said. Put resize and center_crop, "
        f'{{"preprocessing": {{"resize": [{b}, {a}], "center_crop": [{b}, {a}]}}}} or the '
        f"other way round, into {beside_of(path).name} beside it"
    )


def _read_interpolation(value: Any, where: str, path: Path) -> str | None:
    if not isinstance(value, str):
        return None
    name = value.lower().rpartition(".")[2]
    if name not in ("bilinear", "bicubic"):
        raise UnitscopeError(
            f"checkpoint {path} says interpolation {value!r} ({where}); bilinear and bicubic exist "
            f'here. To take one all the same, put {{"preprocessing": {{"interpolation": '
            f'"bicubic"}}}} into {beside_of(path).name} beside it'
        )
    return name


def _read_share(value: Any) -> float | None:
    fits = isinstance(value, Real) and not isinstance(value, bool) and 0.01 <= float(value) <= 1
    return float(value) if fits else None


_READ: dict[str, Callable[[Any, str, Path], Any]] = {
    "mean": lambda value, where, path: _read_colours(value),
    "std": lambda value, where, path: _read_colours(value, 0),
    "interpolation": _read_interpolation,
    "resize": lambda value, where, path: _read_side(value, where, path, exact=True),
    "center_crop": lambda value, where, path: _read_side(value, where, path, exact=False),
    "size": lambda value, where, path: _read_side(value, where, path, exact=False),
    "crop_pct": lambda value, where, path: _read_share(value),
    "crop_mode": lambda value, where, path: (
        value if value in ("center", "squash", "border") else None
    ),
}
"""How a value of each meaning is read; None where it cannot be one."""
