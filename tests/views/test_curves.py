"""Ablation curves as the page Disable asks for them."""

from __future__ import annotations

import numpy as np

from core.foundation.vocabulary import Strategy
from core.knowledge.core_concepts import scoping_core_concepts
from core.views import disable, knowledge


def test_curves_rest_on_the_core_concepts_that_the_page_shows(run, known, tmp_path):
    """On those of the names as a person corrected them, not of the graph as it came."""
    ready = disable.prepare(run, run.layer_names[-1])
    names = tmp_path / "names.tsv"
    names.write_text("name\tnode\nthing 1\t\nthing 2\t\n")
    corrected = knowledge.know(run, known.graph, known.spec, names)
    assert (corrected.core["scc"].members != known.core["scc"].members).any()
    for one in (known, corrected):
        study = disable.study_of(run, ready, one, Strategy.MINMAX_THRESHOLD, "image")
        found = scoping_core_concepts(study.annotated, study.related)
        assert np.array_equal(found.members, one.core["scc"].members)
