"""Names as people read them: of concepts, and of SPECs; messages as sentences."""

from __future__ import annotations

import re
from pathlib import Path

from core.datasets.registry import DATASETS
from core.foundation.names import plain_name
from core.foundation.trust import HOLDING, wrapped
from core.knowledge.kinds import KNOWLEDGE
from core.models.registry import MODELS

_COLOR = re.compile(
    r"^(black|blue|brown|gr[ae]y|green|orange|pink|purple|red|white|yellow)-c\b", re.IGNORECASE
)
"""Broden's colour names, which end in ``-c``."""


def shown_name(name: str) -> str:
    """A stored name as people read it: plain, a colour of Broden's without its ``-c``.

    >>> shown_name("brown-c"), shown_name("/l/living_room"), shown_name("vitamin-c")
    ('brown', 'living room', 'vitamin c')
    """
    return plain_name(_COLOR.sub(r"\1", name.strip()))


def label_name(name: object, doubtful: bool = False) -> str:
    """A unit's label as people read it; one that chance reaches too ends in a question mark.

    >>> label_name("dining_table"), label_name("dresser", True), label_name(None)
    ('dining table', 'dresser?', 'no label')
    """
    if not isinstance(name, str):
        return "no label"
    return f"{shown_name(name)}{'?' if doubtful else ''}"


def detector_name(category: object) -> str:
    """What a unit is called by the category of its label: things that have a region in a photo
    are objects, with their parts and materials; a scene covers the whole photo.

    >>> detector_name("part"), detector_name("scene"), detector_name("texture")
    ('object detector', 'scene detector', 'texture detector')
    """
    if not isinstance(category, str):
        return "no detector"
    return f"{'object' if category in ('part', 'material') else category} detector"


def short_name(spec: str) -> str:
    """A SPEC without kinds, checkpoints and folders, as figures call it.

    >>> short_name("torchvision:resnet18:weights/a.pt"), short_name("folder:../data/tiny")
    ('resnet18', 'tiny')
    >>> short_name("python:tests.squeezenet_places:load:x.npz"), short_name("rooms")
    ('squeezenet_places', 'rooms')
    >>> short_name("dictionary:kept/d1024.pt@torchvision:resnet18:weights/a.pt")
    'd1024 of resnet18'
    """
    kind, *rest = spec.split(":")
    if kind in HOLDING and wrapped(spec)[1]:
        file, network = wrapped(spec)
        return f"{Path(file).stem} of {short_name(network)}"
    if not rest:
        return kind
    name = Path(rest[0]).name
    if kind == "predictions":
        return Path(name).stem
    return name.rsplit(".", 1)[-1] if kind == "python" else name or spec


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "scene"), counted(1200, "photo")
    ('1 scene', '1,200 photos')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def sentence(message: object) -> str:
    """A message as a sentence, without its full stop: with a capital, unless it begins with a name.

    What is typed into a form is copied from messages, so a name is never spelled another way: one
    with a colon, dot, digit, slash or capital in it, or a kind of data set, network or graph.

    >>> sentence("unknown layer 'body.33'."), sentence("folder:/photos holds no images/")
    ("Unknown layer 'body.33'", 'folder:/photos holds no images/')
    >>> sentence("labels.csv: is empty"), sentence("rooms has no such split")
    ('labels.csv: is empty', 'rooms has no such split')
    """
    said = str(message).rstrip(".")
    first = re.match(r"[a-z]+(-[a-z]+)*(?=[\s,;’']|$)", said)
    kinds = (row.name for registry in (DATASETS, MODELS, KNOWLEDGE) for row in registry)
    if first is None or first[0] in kinds:
        return said
    return said[0].upper() + said[1:]
