"""Two finished runs of tests/tiny.py's network, on which pages and views are tried."""

from __future__ import annotations

import time
from pathlib import Path

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from tests import tiny

LAYER = "body.3"
FACTS = [
    ("AtLocation", "thing 1", "attic"),
    ("HasA", "attic", "thing 1"),
    ("PartOf", "piece 6", "attic"),
    ("AtLocation", "thing 2", "barn"),
    ("UsedFor", "barn", "piece 7"),
    ("IsA", "thing 3", "barn"),
    ("AtLocation", "thing 9", "barn"),
    ("AtLocation", "straw", "barn"),
]
"""What their graph says; of the scene cellar it knows nothing."""


def make(base: Path) -> Path:
    """The folder of both runs: one without maps and shuffles, and the newest, of two layers.

    One of the 60 photos is none.
    """
    folder = tiny.write_folder(base / "tiny", 60)
    (folder / "images" / "007.png").write_bytes(b"not a photo")
    facts = base / "facts.tsv"
    facts.write_text("".join("\t".join(fact) + "\n" for fact in FACTS))
    spec, knowledge = f"folder:{folder}", f"triples:{facts}"
    bare = Settings(
        spec, tiny.SPEC, (LAYER,), q=0.05, shuffles=0, keep_maps=False, knowledge=knowledge
    )
    whole = Settings(spec, tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=3, knowledge=knowledge)
    execute(plan(bare), base / "cache").close()
    time.sleep(0.05)  # the newest run is the one shown, by file time
    execute(plan(whole), base / "cache").close()
    return base / "cache"


FACTS_OF_TWO = "AtLocation\tthing 1\tattic\nHasA\tattic\tpiece 6\nHasA\tbarn\tthing 2\n"
"""A smaller graph, which knows two scenes."""


def make_knowing(base: Path, shuffles: int) -> Path:
    """The folder of one run of two layers over 60 photos, opened with :data:`FACTS_OF_TWO`."""
    folder = tiny.write_folder(base / "tiny", 60)
    facts = base / "facts.tsv"
    facts.write_text(FACTS_OF_TWO)
    asked = Settings(
        f"folder:{folder}",
        tiny.SPEC,
        ("body.1", LAYER),
        q=0.05,
        shuffles=shuffles,
        knowledge=f"triples:{facts}",
    )
    execute(plan(asked), base / "cache").close()
    return base / "cache"
