"""Small profiles on tests/tiny.py's drawn photos: `reproduce --profile tests.tiny_reproduce:…`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.foundation.settings import Retraining, Settings
from core.paper.printed import NETWORK
from core.reproduce.profiles import (
    Disabling,
    Explaining,
    Merging,
    Metrics,
    Need,
    Networks,
    Profile,
    Retrainings,
)
from tests import tiny

KNOWLEDGE = "triples:{data}/facts.tsv"
PHOTOS = "folder:{data}/photos"


def write(data: Path, images: int = 60) -> Path:
    """The inputs of the profiles: photos with masks, and facts about what they show."""
    tiny.write_folder(data / "photos", images)
    rng = np.random.default_rng(0)
    things = [f"thing {k}" for k in range(1, 5)] + [f"piece {k}" for k in range(6, 9)]
    lines = [f"AtLocation\t{t}\t{s}" for t in things for s in tiny.SCENES if rng.random() < 0.6]
    lines += [
        f"{rng.choice(['RelatedTo', 'IsA'])}\t{rng.choice(things)}\tnode {k % 40}"
        for k in range(160)
    ]
    (data / "facts.tsv").write_text("\n".join(dict.fromkeys(lines)) + "\n", encoding="utf-8")
    return data


def _settings(model: str) -> Settings:
    return Settings(PHOTOS, model, ("body.3",), q=0.05, shuffles=2, knowledge=KNOWLEDGE)


TINY = Profile(
    "tiny",
    "drawn photos",
    ("Nothing of it is the paper's.",),
    {
        "photos": Need("drawn photos", ("{data}/photos/scenes.csv",), ("tiny-photos",)),
        "facts": Need("drawn facts", ("{data}/facts.tsv",), how="draw them"),
        "weights": Need("weights of another network", ("{data}/other.pt",), ("tiny-weights",)),
    },
    {
        "net": (_settings(tiny.SPEC), ("photos",)),
        "other": (_settings(f"{tiny.SPEC}:{{data}}/other.pt"), ("photos", "weights")),
    },
    (KNOWLEDGE, "facts"),
    {
        "table1": Explaining("net", ("test",)),
        "table2": Explaining("net", ("test",), groups=0.5),
        "table3": Explaining("net", ("test",), groups=0.5),
        "table4": Networks({"AlexNet": "net", "ResNet-50": "other"}, ("test",)),
        "table5": Merging("net", {160: 3, 168: 0.6, 185: 5}, ("TransE", "DistMult")),
        "table6": Metrics({"ADE20k": "net", "Opensurfaces": "other"}),
        "figure3": Disabling("net", ("test",), ("test",), at=(1, 2, 5), draws=3, halves=1),
        "figure4": Disabling("other", ("test",), ("test",), at=(1, 2, 5), draws=3, halves=0),
        "figure5": Retrainings(
            {
                NETWORK: (
                    Retraining(
                        PHOTOS,
                        tiny.SPEC,
                        weights=(1.0,),
                        seeds=2,
                        epochs=2,
                        batch=8,
                        knowledge=KNOWLEDGE,
                    ),
                    ("photos",),
                )
            }
        ),
    },
    not_run={"table1": {"ConceptSHAP": "not here", "CLIP-Dissect": "not here"}},
)

SMALL = replace(
    TINY,
    name="small",
    parts={
        "table1": TINY.parts["table1"],
        "table2": TINY.parts["table2"],
        "figure3": Disabling(
            "net", ("test",), ("test",), at=(1, 2), rankings=("icc", "random"), draws=1, halves=0
        ),
        "figure5": Retrainings(
            {
                NETWORK: (
                    Retraining(
                        PHOTOS,
                        tiny.SPEC,
                        cc=("icc",),
                        weights=(1.0,),
                        seeds=1,
                        epochs=1,
                        batch=8,
                        knowledge=KNOWLEDGE,
                    ),
                    ("photos",),
                )
            }
        ),
    },
)
"""As many kinds of steps, as little work: for benchmarks.reliability, which begins it hundreds of
times."""

EITHER = replace(
    TINY,
    needs={**TINY.needs, "elsewhere": Need("photos of old", ("{data}/old/scenes.csv",), ("old",))},
    either={"set": (("folder:{data}/old", ("elsewhere",)), (PHOTOS, ("photos",)))},
    runs={"net": (replace(TINY.runs["net"][0], dataset="{set}"), ("set",))},
    parts={"table1": TINY.parts["table1"]},
)
"""Photos may lie in one of two places."""
