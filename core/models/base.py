"""`LoadedModel`: a network ready to run, the common interface of all kinds of model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.plain import Json
from core.models.hooks import Layer, check_layer, list_layers
from core.models.outputs import features_alone, taken, vector


@dataclass
class LoadedModel:
    """A network ready to run, with everything that decides its output.

    Attributes
    ----------
    module : in evaluation mode, float32, on the CPU, channels last.
    preprocessing : the steps from a photo to the input, stored with each run.
    classes : class names in the order of the logits; may be empty.
    default_layer : the layer dissected where none is named.
    notes : what the checkpoint says of itself (accuracies and the like), shown, not used.
    backbone : why its outputs are no classes (:mod:`core.models.outputs`), "" where they are; such
        a network is dissected without classes.
    source : what decides the output but is visible neither in the module's text nor in its weights;
        part of the digest: for a ``python:`` network the function's name and the text of its files,
        for timm's the package's version.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    spec: str
    default_layer: str
    notes: Json = field(default_factory=dict)
    source: str = ""
    backbone: str = ""

    def digest(self) -> str:
        """Hex digest over architecture, every weight and buffer, classes and source file."""
        h = hashlib.sha256()
        h.update(repr(self.module).encode())
        h.update("\0".join(self.classes).encode() + b"\1" + self.source.encode())
        for name, value in sorted(self.module.state_dict().items()):
            array = value.detach().cpu().contiguous()
            h.update(f"{name}:{array.dtype}:{tuple(array.shape)}".encode())
            h.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return h.hexdigest()

    def example(self, photo_size: tuple[int, int] = (640, 480)) -> Tensor:
        """One black input (1, 3, height, width), as a photo of (width, height) would give."""
        width, height = self.preprocessing.input_size(*photo_size)
        return torch.zeros(1, 3, height, width)

    def outputs(self, photo_size: tuple[int, int] = (640, 480)) -> tuple[int, str]:
        """(number of classes, what was chosen or is not known about them, in words), by one forward
        pass. (0, why) for a network without a classifier; where only what it returns shows that it
        has none, `backbone` is set.

        Raises UnitscopeError where the network names its classes and returns something else.
        """
        if self.backbone:
            return 0, self.backbone
        with torch.inference_mode():
            output = self.module(self.example(photo_size))
        try:
            if not self.classes:
                self.backbone = features_alone(output)
                if self.backbone:
                    return 0, self.backbone
            chosen, count = taken(output).said, vector(output).shape[1]
        except UnitscopeError as err:
            raise UnitscopeError(
                f"the network of {self.spec!r} {err}. Return one value a class for each image, as "
                "a tensor or under the name logits; or say that its outputs are no classes: "
                "--no-classes"
            ) from None
        said = [f"the network's answer is {chosen}"] if chosen else []
        if self.classes and len(self.classes) != count:
            of = f" ({chosen})" if chosen else ""
            raise UnitscopeError(
                f"model {self.spec!r} names {len(self.classes)} classes but gives {count} "
                f"outputs{of}"
            )
        if not self.classes:
            said.append(
                f"the network names no classes: its {count:,} outputs are read as classes "
                "without names; if they are features, say --no-classes"
            )
        return count, "; ".join(said)

    def layers(self, photo_size: tuple[int, int] = (640, 480)) -> list[Layer]:
        """The layers that can be dissected, in the order of the forward pass, with the shapes
        of their maps for photos of (width, height).

        Raises UnitscopeError where the network does not take its preprocessing's input.
        """
        example = self.example(photo_size)
        try:
            return list_layers(self.module, example)
        # A user's own network may raise anything.
        except Exception as err:
            height, width = example.shape[2:]
            raise UnitscopeError(
                f"the network of {self.spec!r} does not take what its preprocessing gives, RGB of "
                f"{width}×{height} pixels: {(str(err) or repr(err)).splitlines()[0]}"
            ) from err

    def check_layer(
        self, name: str, known: Iterable[str], photo_size: tuple[int, int] = (640, 480)
    ) -> None:
        """Raise with the reason where a layer is not one of :meth:`layers`, whose names are
        `known`."""
        check_layer(self.module, self.example(photo_size), name, known)
