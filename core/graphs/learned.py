"""LC(x) and CC(y) by structural concept graphs, for Table 1."""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.explain.learned import Learned
from core.graphs.distil import Student
from core.graphs.scg import graphs_of
from core.graphs.why import by_concept
from core.labelling.probe import Probe

NOTHING = -1
"""In place of the class that an answer is held against: *why*, without *why not*."""


def learned_by_graphs(student: Student) -> Learned:
    """LC(x) of every image: the concepts that add to the logit of the network's answer in the
    photo's graphs (:func:`core.graphs.why.by_concept`); nothing where the answer is no class of
    interest."""
    probe, run = student.probe, student.run
    graphs = graphs_of(probe, student.found.distinct)
    answers = np.asarray(run.array("logits")[graphs.images], np.float32).argmax(1)
    active = np.zeros((len(graphs), len(graphs.concepts)), bool)
    for row in np.flatnonzero(np.isin(answers, student.found.classes)):
        active[row] = by_concept(student, graphs, int(row), int(answers[row]), NOTHING) > 0
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    every = np.zeros((len(images), len(graphs.concepts)), bool)
    every[np.searchsorted(images, graphs.images)] = active
    table = np.zeros((len(graphs.concepts), _columns(probe)), bool)
    table[np.arange(len(graphs.concepts)), graphs.concepts - 1] = True
    return Learned.of_active(run, student.asked.layer or "", "VRX", every, table)


def core_by_graphs(student: Student) -> np.ndarray:
    """bool (scenes of the dataset, concepts): CC of each scene, the nodes of its class's graph;
    none of a scene whose class is not of interest."""
    run, found = student.run, student.found
    scenes = run.sql("SELECT scene, class FROM scenes ORDER BY scene")
    members = np.zeros((len(scenes), _columns(student.probe)), bool)
    for row, of in enumerate(scenes["class"]):
        mine = found.classes == (NOTHING if pd.isna(of) else int(of))
        nodes = found.concepts[mine]
        members[row, nodes[nodes > 0] - 1] = True
    return members


def _columns(probe: Probe) -> int:
    """Concepts that are no scenes: the columns of LC and CC."""
    return int((probe.concepts["category"] != "scene").sum())
