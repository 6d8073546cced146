"""What pages ask of concept vectors and graphs: what the verbs found, and the jobs that ask them.

No network is run here: ``python -m core conceptshap``, ``tcav``, ``ace`` and ``vrx`` do.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from core.directions.findings import Finding, findings
from core.foundation.names import plain_name
from core.runs.run_file import Run

TITLES = {"conceptshap": "ConceptSHAP", "tcav": "TCAV", "ace": "ACE", "vrx": "VRX"}

ABOUT = {
    "conceptshap": "Concept vectors from which the network’s answers can be recovered, and each "
    "one’s share of that (Shapley value).",
    "tcav": "Does a scene’s logit rise along a concept? By concept activation vectors (CAVs).",
    "ace": "Concepts of a scene found without masks: clusters of segments, tested by TCAV.",
    "vrx": "A graph of concepts and their places for each class, taught to answer as the network "
    "does.",
}

HEADS = {
    "shapley": "Shapley value",
    "iou": "IoU",
    "held": "IoU, held out",
    "chance": "p-value of the name",
    "leads": "leads in",
    "score": "TCAV",
    "p_half": "p (published)",
    "p": "p (published)",
    "p_null": "p (null)",
    "agreement": "answers as the network",
    "accuracy": "right",
    "about": "what it is",
}
"""Columns of :data:`core.directions.findings.COLUMNS` → what a table calls them; the others stay as
they are."""

STEPS = {
    "concept vectors": "Learning concept vectors",
    "names of vectors": "Names for them, and chance",
    "concept scores": "Scores of every photo",
    "subsets of concepts": "Every subset of them alone",
    "random concepts": "Random concepts, as control",
    "segments": "Cutting photos into segments",
    "activations of segments": "The network on every segment",
    "examples": "The network on examples",
    "TCAV": "TCAV of concepts and of random sets",
    "graphs": "Graphs",
    "displaced": "Control: concepts in other places",
    "nodes alone": "Control: nodes alone",
}
"""Stages of the four verbs."""

NAMED = ("name", "scene", "variant")


def found(run: Run, layer: str, verb: str) -> dict[str, Finding]:
    """What a verb found of a layer, by what was asked, the latest first."""
    every: dict[str, Finding] = {}
    for one in findings(run, layer):
        if one.verb == verb:
            every.setdefault(one.about, one)
    return every


def table_of(one: Finding) -> pd.DataFrame:
    """Its table as people read it."""
    frame = one.frame.copy()
    for name in NAMED:
        if name in frame:
            frame[name] = frame[name].map(lambda text: plain_name(text) or "–")
    return frame.rename(columns=HEADS)


def arguments(verb: str, run: Run, root: Path, layer: str, of: str = "") -> list[str]:
    """After ``python -m core``: what asks a verb about a layer. of : the scene of ACE, the concept
    of TCAV."""
    option = {"tcav": "--concept", "ace": "--scene"}.get(verb)
    asked = [option, of] if option else []
    return [verb, run.digest, *asked, "--layer", layer, "--out", str(root), "--json"]
