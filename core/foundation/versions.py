"""Versions of computations: part of the key, with the inputs, of every kept result.

Anything that is kept (a run, an embedding, an SVM, a cached table) is found again by a digest of
all that decided it. The code is part of that, as a version here: a comment, a sentence or a
moved file leaves kept results alone, and a changed formula makes new ones.

**When to raise a version.** Whenever the same input gives another result. `tests/test_golden.py`
keeps you to it: it records results on small fixed input, and fails where they changed while the
version did not. Where the code changed and the results did not, `make golden` records that.
"""

from __future__ import annotations

from importlib import import_module

from core.foundation.errors import unknown

VERSIONS: dict[str, int] = {
    # Photos and annotations → the network's input and the masks on the working grid.
    "decoding": 1,
    # Photos, masks and a network → a run file: activations, thresholds, counts, labels, chance.
    "dissection": 1,
    # Replaying the layers behind a dissected one: logits after a toggle (§3.3).
    "replay": 1,
    # Where each cell of a layer is active, packed, for formulas and unions.
    "signatures": 1,
    # The search for compositional formulas.
    "formulas": 1,
    # The map of units on the page Units.
    "unit map": 1,
    # Knowledge graph embeddings, and how they are judged.
    "embedding": 1,
    # Merging concepts, and the IoU that it gains (B − A) / A (Table 5).
    "merging": 1,
    # Learned concepts and the metrics of Eq. 4–8.
    "explanation": 1,
    # SCC and ICC of a knowledge graph (Eq. 1–3).
    "core concepts": 1,
    # Contribution scores (Eq. 9), protocols of ablation, searches for units.
    "ablation": 1,
    # What taking a concept out of a photo does to the logits, and evidence for a margin.
    "effects": 2,
    # What attribution methods give, and how they fare against true effects.
    "truth": 2,
    # What caused one answer: effects, control bands, evidence and standings of one photo.
    "causes": 1,
    # What scenes rest on, mistakes sorted, failures foretold: all from effects.
    "reliance": 1,
    # Concept vectors of a layer: ConceptSHAP's, CAVs and TCAV, what ACE discovers.
    "concept vectors": 2,
    # What units lose when concepts are taken out; labels that are fitted and kept.
    "labels": 1,
    # Features of photos and words, by which CLIP-Dissect compares them with units.
    "encoding": 1,
    # Sparse dictionaries: their training and measures, and what they give in a network.
    "dictionary": 1,
    # Structural concept graphs (VRX): their concepts, features and edges, and what they learn.
    "graphs": 1,
    # The classifiers of Table 6 that read learned concepts.
    "SVM": 1,
    # Re-training on core concepts alone (Table 2).
    "re-training": 1,
    # Where a planted thing stands in a scene of `rooms`, and how it looks.
    "planting": 1,
    # The paper's tables of a finished run.
    "tables": 1,
    # Charts, as the reproduction keeps them.
    "figures": 4,
}
"""Computation → version. Names are shown to people and stand in run files: never rename one."""

WORLD = 1
"""Version of the drawn world of `rooms`. It is frozen: its photos, and the embedded network that
was trained on them, stay as they are; what is drawn differently is a new world."""


READERS = "core.datasets.registry:reader_versions"
"""Where the versions of the readers are found, imported when a run is asked what changed since."""


def versions_today(name: str) -> set[int]:
    """The versions that a computation, or ``reader KIND``, can have today; empty where nothing here
    is of that name.

    >>> versions_today("replay") == {VERSIONS["replay"]}, versions_today("reader of tea leaves")
    (True, set())
    """
    if name in VERSIONS:
        return {VERSIONS[name]}
    what, _, kind = name.partition(" ")
    if what != "reader":
        return set()
    module, _, function = READERS.partition(":")
    found: set[int] = getattr(import_module(module), function)(kind)
    return found


def versions_of(*names: str) -> dict[str, int]:
    """Versions of some computations, for a digest of what decided a result.

    Raises UnitscopeError for a name that no computation has.

    >>> versions_of("replay") == {"replay": VERSIONS["replay"]}
    True
    """
    for name in names:
        if name not in VERSIONS:
            raise unknown("computation", name, VERSIONS)
    return {name: VERSIONS[name] for name in names}
