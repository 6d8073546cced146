"""The kinds of model: how each is named, and what opens it.

What :attr:`~core.foundation.registry.Row.opens` names is called with the whole SPEC, for messages,
and its text behind the kind and its colon; it returns a
:class:`~core.models.base.LoadedModel`. This table needs no PyTorch; what it opens does.
"""

from __future__ import annotations

from core.foundation.registry import Registry, Row

MODELS: Registry[Row] = Registry(
    "kind of model",
    "unitscope.models",
    (
        Row(
            "rooms",
            "rooms[:NAME]",
            "the embedded network, trained on the embedded photos; NAME: on a planted shortcut",
            "core.rooms.network:load_rooms",
        ),
        Row(
            "torchvision",
            "torchvision:NAME[:CHECKPOINT]",
            "a torchvision classifier; CHECKPOINT is a file, or `random` for untrained weights",
            "core.models.zoo:load_torchvision",
        ),
        Row(
            "timm",
            "timm:NAME[:CHECKPOINT]",
            "the same of timm, an optional package",
            "core.models.timm_zoo:load_timm",
        ),
        Row(
            "places365",
            "places365:NAME:CHECKPOINT[:CATEGORIES]",
            "a Places365 network of the CSAIL release; CATEGORIES is its list of class names",
            "core.models.zoo:load_places",
        ),
        Row(
            "python",
            "python:package.module:function[:CHECKPOINT]",
            "your own network from an importable function",
            "core.models.python:load_python",
        ),
        Row(
            "dictionary",
            "dictionary:FILE@SPEC",
            "the network of SPEC with a sparse dictionary's features as units (docs/dictionary.md)",
            "core.models.dictionary:load_dictionary",
        ),
    ),
    Row,
)
