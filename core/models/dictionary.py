"""Sparse dictionaries in a network: ``dictionary:FILE@SPEC`` makes a dictionary's features units.

A TopK dictionary (Makhzani and Frey, "k-Sparse Autoencoders", 2013; Gao et al., "Scaling and
Evaluating Sparse Autoencoders", 2024) writes each cell x of a layer's maps as a sum of few of its
directions:

    codes(x) = TopK(ReLU(E (x − b) + e)),    x̂ = D codes(x) + b

with E (features, units), e (features,), D (units, features), b (units,); TopK leaves the k largest
of the features and sets the others to 0.

:func:`insert` puts it behind its layer so that nothing changes: the layer gives

    x + D (codes − codes(x)),    codes = what the submodule ``dictionary.codes`` gave

where the reconstruction error x − x̂ is carried along. Unless a hook on ``dictionary.codes`` changes
them, codes are codes(x), the difference is exactly 0, and the layer gives x itself. So whatever
works on a layer's units by hooks on its dotted name works on a dictionary's features:
``dictionary.codes`` is a layer with as many units as the dictionary has features.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError
from core.foundation.files import expanded, write_bytes
from core.foundation.names import few, readable
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.foundation.trust import wrapped
from core.foundation.versions import VERSIONS
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.hooks import as_maps, capture, find_layer
from core.models.outputs import put_back, taken

FORM = "dictionary:FILE@SPEC"

FORMAT = 1
"""Of the file."""

NAME = "dictionary"
"""The submodule of the network, and the entry of the file that holds no weights."""

MOST = 2**20
"""Features, or units, that a file may have."""

LONGEST = 10_000
"""Characters of a text in a file."""


@dataclass(frozen=True)
class Origin:
    """What a dictionary's file says of where it comes from.

    Attributes
    ----------
    network : digest of the network (:meth:`core.models.base.LoadedModel.digest`) that it belongs
        to; no other takes it. spec : how that network was opened.
    layer : dotted name of the layer in it. Both are empty of a dictionary of no network.
    run, dataset : digest and dataset of the run that it was trained on.
    training : settings and course of the training. measured : on held-out photos. Both are shown,
        and nothing is computed from them.
    """

    network: str = ""
    layer: str = ""
    spec: str = ""
    run: str = ""
    dataset: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)


def top_k(values: Tensor, k: int) -> Tensor:
    """The k largest of the last axis where they are above 0, and 0 elsewhere.

    >>> top_k(torch.tensor([3.0, -1.0, 5.0, 4.0]), 2), top_k(torch.tensor([-2.0, 1.0, -3.0]), 2)
    (tensor([0., 0., 5., 4.]), tensor([0., 1., 0.]))
    """
    largest, at = values.topk(k, dim=-1)
    return torch.zeros_like(values).scatter(-1, at, largest.relu())


class Codes(nn.Module):
    """Hands on a copy of what it is given: the place to read and change codes by a hook."""

    def forward(self, codes: Tensor) -> Tensor:
        # A copy, so that a hook that works in place changes these codes and not those they are
        # compared with.
        return codes.clone()


class Dictionary(nn.Module):
    """A TopK dictionary of a layer, see the module's text.

    Parameters
    ----------
    encoder : float32 (features, units), E. encoder_bias : (features,), e.
    decoder : float32 (units, features), D: the directions, one a column.
    decoder_bias : (units,), b.
    k : features of a cell that are not 0, at most.
    activity : float32 (features,), the share of training cells in which each is not 0; None where
        it is not known.

    Attributes
    ----------
    origin : of which network and layer it is. behind : the layer that it is behind, by its name in
        the network that :func:`insert` put it into.

    Raises UnitscopeError where shapes do not go together, a number is not finite, or k is out of
    range.

    >>> plain = Dictionary(torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3), k=1)
    >>> plain.encode(torch.tensor([1.0, 4.0, 2.0])), plain.features, plain.units
    (tensor([0., 4., 0.]), 3, 3)
    """

    def __init__(
        self,
        encoder: Tensor,
        encoder_bias: Tensor,
        decoder: Tensor,
        decoder_bias: Tensor,
        k: int,
        activity: Tensor | None = None,
        origin: Origin = Origin(),
    ):
        super().__init__()
        if encoder.ndim != 2 or not 0 < min(encoder.shape) <= max(encoder.shape) <= MOST:
            raise UnitscopeError(
                f"the encoder has shape {tuple(encoder.shape)}; (features, units) is meant, up to "
                f"{MOST:,} each"
            )
        features, units = encoder.shape
        wanted = {
            "encoder_bias": (encoder_bias, (features,)),
            "decoder": (decoder, (units, features)),
            "decoder_bias": (decoder_bias, (units,)),
            "activity": (encoder_bias if activity is None else activity, (features,)),
        }
        for name, (value, shape) in {**wanted, "encoder": (encoder, encoder.shape)}.items():
            if value.shape != shape:
                raise UnitscopeError(
                    f"{name} has shape {tuple(value.shape)}; {tuple(shape)} goes with an encoder "
                    f"of {features} features and {units} units"
                )
            if value.dtype != torch.float32 or not torch.isfinite(value).all():
                raise UnitscopeError(f"{name} holds what is no finite number in single precision")
        if not 1 <= k <= features:
            raise UnitscopeError(f"k is {k}; 1 to {features} features can be active in a cell")
        self.encoder, self.encoder_bias = nn.Parameter(encoder), nn.Parameter(encoder_bias)
        self.decoder, self.decoder_bias = nn.Parameter(decoder), nn.Parameter(decoder_bias)
        self.k, self.activity, self.origin = k, activity, origin
        self.carries_error = True
        self.behind = ""
        self.codes = Codes()
        self.requires_grad_(False).eval()

    @property
    def features(self) -> int:
        """Number of features."""
        return self.encoder.shape[0]

    @property
    def units(self) -> int:
        """Number of units of the layer."""
        return self.encoder.shape[1]

    @property
    def live(self) -> Tensor:
        """bool (features,): was the feature active in any training cell? All, where that is not
        known."""
        if self.activity is None:
            return torch.ones(self.features, dtype=torch.bool)
        return self.activity > 0

    def extra_repr(self) -> str:
        # Part of the network's digest, which thereby knows k and the layer.
        of = self.origin.layer or "units"
        return f"{self.features} features of {self.units} units, k={self.k}, {of}"

    def encode(self, cells: Tensor) -> Tensor:
        """(…, units) → codes (…, features), none below 0, at most k above."""
        return top_k(F.linear(cells - self.decoder_bias, self.encoder, self.encoder_bias), self.k)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (…, features) → x̂ (…, units)."""
        return F.linear(codes, self.decoder, self.decoder_bias)

    def forward(self, maps: Tensor) -> Tensor:
        """What takes the place of maps (images, units, height, width): themselves, unless a hook
        changes :attr:`codes`. Where :attr:`carries_error` is off, what the codes decode to."""
        cells = maps.movedim(1, -1)
        before = self.encode(cells)
        codes = self.codes(before.movedim(-1, 1)).movedim(1, -1)
        if not self.carries_error:
            return self.decode(codes).movedim(-1, 1)
        # One product of the difference: where nothing is changed, it is exactly 0.
        return maps + F.linear(codes - before, self.decoder).movedim(-1, 1)

    def reset_parameters(self) -> None:
        """There are no untrained weights of a dictionary: always raises UnitscopeError."""
        raise UnitscopeError(
            "a dictionary is of the trained network's activations, and the untrained network has "
            "none; for comparison train one on a run of the untrained network"
        )

    def state(self) -> dict[str, Tensor]:
        """The tensors of the file."""
        state = {name: value.detach().clone() for name, value in self.named_parameters()}
        return state if self.activity is None else {**state, "activity": self.activity.clone()}

    def digest(self) -> str:
        """Hex digest of all that decides what it gives, and of the network that it is of."""
        h = hashlib.sha256(f"{self.extra_repr()}\0{self.origin.network}\0".encode())
        for _, value in sorted(self.named_parameters()):
            h.update(value.detach().contiguous().numpy().tobytes())
        return h.hexdigest()


# -- the file -------------------------------------------------------------------------------


def write_dictionary(dictionary: Dictionary, path: Path) -> None:
    """Write a dictionary's file: ``*.safetensors``, or else PyTorch's (``weights_only``).

    Raises UnitscopeError where the dictionary does not say of which network and layer it is.
    """
    if not dictionary.origin.network or not dictionary.origin.layer:
        raise UnitscopeError("a dictionary's file names the network and layer that it is of")
    facts = {"format": FORMAT, "k": dictionary.k, **asdict(dictionary.origin)}
    if path.suffix == ".safetensors":
        package = optional("safetensors.torch", "*.safetensors files")
        text = json.dumps(facts, ensure_ascii=False, sort_keys=True)
        write_bytes(path, package.save(dictionary.state(), {NAME: text}))
        return
    buffer = io.BytesIO()
    torch.save({"state_dict": dictionary.state(), NAME: facts}, buffer)
    write_bytes(path, buffer.getvalue())


def read_dictionary(path: Path) -> Dictionary:
    """A dictionary from its file, of whoever made it: nothing in it is run, and every shape and
    number that is used is checked.

    Raises UnitscopeError for a file that is missing, damaged, or no dictionary's, saying why.
    """
    state, notes = read_checkpoint(path)
    facts = notes.get(NAME)
    if not isinstance(facts, dict) or "format" not in facts:
        raise UnitscopeError(
            f"{path} holds no dictionary, such as `python -m core dictionary train` writes: it "
            f"has no entry {NAME!r}"
        )
    if facts["format"] != FORMAT:
        raise UnitscopeError(f"{path} is of format {facts['format']!r}; {FORMAT} is read here")
    k = facts.get("k")
    if not isinstance(k, int) or isinstance(k, bool):
        raise UnitscopeError(f"{path}: k is {str(k)[:40]!r}, not a whole number")
    names = {"encoder", "encoder_bias", "decoder", "decoder_bias"}
    if not names <= set(state) <= names | {"activity"}:
        raise UnitscopeError(
            f"{path} holds the tensors {few(sorted(map(readable, state)))}; a dictionary has "
            f"{', '.join(sorted(names))}, and may have activity"
        )
    try:
        return Dictionary(
            **{name: state[name].contiguous() for name in names},
            k=k,
            activity=state.get("activity"),
            origin=_origin(facts),
        )
    except UnitscopeError as err:
        raise UnitscopeError(f"{path}: {err}") from None


def _origin(facts: Mapping[str, Any]) -> Origin:
    """Raises UnitscopeError where an entry is missing, or is not what it should be."""

    def text(name: str) -> str:
        value = facts.get(name, "")
        if not isinstance(value, str) or len(value) > LONGEST:
            raise UnitscopeError(f"{name} is no short text")
        return readable(value)

    def held(name: str) -> Json:
        value = facts.get(name, {})
        return value if isinstance(value, dict) else {}

    said = {name: text(name) for name in ("network", "layer", "spec", "run", "dataset")}
    if not re.fullmatch(r"[0-9a-f]{64}", said["network"]):
        raise UnitscopeError("network is no digest of a network (64 hex digits)")
    if not said["layer"]:
        raise UnitscopeError("it names no layer")
    return Origin(**said, training=held("training"), measured=held("measured"))


# -- in the network -------------------------------------------------------------------------


class Held(nn.Module):
    """A network that is a chain, with a place for what is no link of it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Any:
        return self.network(x)


class Insertion:
    """The hook that puts a layer's maps through a dictionary. An object and not a function, so
    that a copy of the network has a copy of the dictionary.

    seen : (height, width) of the network's input, which tells what of a layer's output is its
        grid (:func:`core.models.hooks.as_maps`).
    """

    def __init__(self, dictionary: Dictionary, layer: str, seen: tuple[int, int]):
        self.dictionary, self.layer, self.seen = dictionary, layer, seen

    def start(self, _module: nn.Module, args: Any) -> None:
        """Before the network runs."""
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            self.seen = (args[0].shape[2], args[0].shape[3])

    def __call__(self, _module: nn.Module, _args: Any, output: Any) -> Any:
        fresh = taken(output).tensor.clone()
        view = as_maps(fresh, self.layer, self.seen)
        view.copy_(self.dictionary(view))
        return put_back(output, fresh)


def insert(loaded: LoadedModel, dictionary: Dictionary, layer: str) -> tuple[nn.Module, str]:
    """Put a dictionary behind a layer of an opened network, in place.

    The network is run once before and once after, on a black photo, and must give the same.

    Returns the network and the dictionary's name in it: ``dictionary``, or ``dictionary2`` where
    that is taken. All other layers keep their names, except in a network that is an
    ``nn.Sequential``, which would run whatever is put into it: there they begin with ``network.``.

    Raises UnitscopeError where the network has no such layer, where it is called more than once,
    where its units are not the dictionary's, and where the network runs otherwise with a
    dictionary in it.
    """
    example = loaded.example()
    module = loaded.module
    with torch.inference_mode(), capture(module, [layer]) as found:
        plain = taken(module(example)).tensor.clone()
    if layer not in found:
        raise UnitscopeError(f"the forward pass never reached layer {layer!r}")
    units = found[layer].shape[1]
    if units != dictionary.units:
        raise UnitscopeError(
            f"the dictionary is of {dictionary.units} units, and {layer} has {units}"
        )
    part = find_layer(module, layer)
    if isinstance(module, nn.Sequential):
        module = Held(module)
    dictionary.behind = next(n for n, one in module.named_modules() if one is part)
    taken_names = set(dict(module.named_children())) | set(vars(module))
    name = next(n for n in (NAME, *(f"{NAME}{k}" for k in range(2, 1000))) if n not in taken_names)
    module.add_module(name, dictionary)
    hook = Insertion(dictionary, layer, (example.shape[2], example.shape[3]))
    module.register_forward_pre_hook(hook.start)
    part.register_forward_hook(hook)
    calls: list[int] = []
    counter = dictionary.register_forward_hook(lambda *_: calls.append(1))
    try:
        with torch.inference_mode():
            gave = taken(module(example)).tensor
    finally:
        counter.remove()
    if len(calls) != 1 or not torch.allclose(gave, plain, rtol=0, atol=0, equal_nan=True):
        raise UnitscopeError(
            f"the network of {loaded.spec!r} gives something else with a dictionary in it, which "
            "it must not: does it run all its submodules, whatever they are? Then hold it in a "
            "module of its own"
        )
    return module, name


def dictionary_of(module: nn.Module, layer: str) -> Dictionary | None:
    """The dictionary in a network whose codes a layer is; None where it is another layer."""
    parent, _, last = layer.rpartition(".")
    found = dict(module.named_modules()).get(parent)
    return found if isinstance(found, Dictionary) and last == "codes" else None


def load_dictionary(spec: str, rest: str) -> LoadedModel:
    """``dictionary:FILE@SPEC``: the network of SPEC with the dictionary of FILE in it, by default
    dissected at the dictionary's codes.

    Raises UnitscopeError where the file is damaged, or is a dictionary of another network.
    """
    from core.models.load import load_model

    file, base_spec = wrapped(spec)
    if not file or not base_spec:
        said = ""
        if rest and expanded(rest).is_file():
            origin = read_dictionary(expanded(rest)).origin
            said = f"; that file is of {origin.spec!r}" if origin.spec else ""
        raise UnitscopeError(f"{spec!r}: the form is {FORM}, with the network's own SPEC{said}")
    path = expanded(file)
    dictionary = read_dictionary(path)
    origin, base = dictionary.origin, load_model(base_spec)
    if base.digest() != origin.network:
        of = f" ({origin.spec})" if origin.spec else ""
        raise UnitscopeError(
            f"{path} is a dictionary of another network than {base_spec!r}: it is of one with the "
            f"digest {origin.network[:16]}…{of}, and this one's is {base.digest()[:16]}…. Weights, "
            "architecture and class names must be those that it was trained on"
        )
    try:
        module, name = insert(base, dictionary, origin.layer)
    except UnitscopeError as err:
        raise UnitscopeError(f"{path}: {err}") from None
    said = f"{dictionary.features} features of {origin.layer}, {dictionary.k} to a cell"
    return replace(
        base,
        module=module,
        spec=spec,
        default_layer=f"{name}.codes",
        notes={**base.notes, "dictionary": said},
        source=f"{base.source}\ndictionary {VERSIONS['dictionary']}",
    )
