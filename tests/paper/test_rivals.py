"""Rows of Table 1 that are not the paper's own methods."""

from __future__ import annotations

import numpy as np
import pytest

from core.explain.account import scenes_of
from core.explain.learned import Learned
from core.explain.metrics import explain_predictions
from core.foundation.errors import NoEffect, UnitscopeError
from core.knowledge.kinds import open_knowledge
from core.labelling.learned import learned_by_labels
from core.labelling.methods import label_units
from core.labelling.probe import open_probe
from core.paper import rivals
from core.paper.tables import all_core_concepts, table_1


def test_labels_are_held_against_every_kind_of_core_concepts(tiny_run, facts):
    graph = open_knowledge(facts)
    rival = rivals.by_labels(tiny_run, "body.3", "dataset")
    table = table_1(tiny_run, graph, ["test"], layer="body.3", rivals=[rival])
    plain = table_1(tiny_run, graph, ["test"], layer="body.3")
    assert [names for names, _ in table.rows] == [
        *(("NetDissect", kind) for kind in ("Top 10", "SCC", "ICC")),
        *(names for names, _ in plain.rows),
    ]
    assert [row[1].figures for row in table.rows[3:]] == [row[1].figures for row in plain.rows]
    labels = label_units(open_probe(tiny_run, "body.3", ["train"]), "dataset")
    learned = learned_by_labels(tiny_run, "body.3", labels)
    row, predicted, target = scenes_of(tiny_run, ["test"])
    scc = all_core_concepts(tiny_run, graph)["scc"].members
    own = explain_predictions(learned.has[row], scc, predicted, target)
    assert table.rows[1][1].figures["CM_TP"] == own.figures["CM_TP"]
    assert any("labels by dataset" in note and "learned from train" in note for note in table.notes)


def test_a_rival_with_core_concepts_of_its_own_is_one_row(tiny_run, facts):
    learned = learned_by_labels(
        tiny_run, "body.3", label_units(open_probe(tiny_run, "body.3"), "dataset")
    )
    core = np.zeros((3, len(learned.concepts)), bool)
    core[[0, 1, 2], [0, 1, 2]] = True
    rival = rivals.Rival("ConceptSHAP", "of a kind", learned, core)
    table = table_1(
        tiny_run, open_knowledge(facts), layer="body.3", strategies=["whole_layer"], rivals=[rival]
    )
    assert table.rows[0][0] == ("ConceptSHAP", "–") and "of a kind" in table.notes
    row, predicted, target = scenes_of(tiny_run)
    own = explain_predictions(learned.has[row], core, predicted, target)
    assert table.rows[0][1].figures["CM_FP"] == own.figures["CM_FP"]
    assert "ConceptSHAP" in table.to_text() and "ConceptSHAP" in table.to_latex()


def test_concept_shap_gives_both_sides_of_its_row(planted):
    from core.attribution.case import Opened
    from core.directions import conceptshap as cs
    from core.directions.vectors import Learning

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cs, "REFIT_STEPS", 2)
        asked = cs.Asked(learning=Learning(concepts=3, epochs=2, steps=20))
        found = cs.concept_shap(Opened.of(planted, "body.3"), asked)
        rival = rivals.concept_shap_of(planted, "body.3", asked)
    assert rival.name == "ConceptSHAP" and isinstance(rival.learned, Learned)
    assert np.array_equal(rival.core, found.core())
    assert (rival.learned.has != found.vectors.learned().has).nnz == 0
    assert f"completeness there {found.all:.2f}" in rival.note


def test_options_go_to_the_methods_that_take_them():
    given = rivals.taken(["dataset", "clip_dissect"], encoder="conse")
    assert given == {"dataset": {}, "clip_dissect": {"encoder": "conse"}}
    with pytest.raises(NoEffect, match="--encoder is taken by none of the methods dataset"):
        rivals.taken(["dataset"], encoder="conse")
    with pytest.raises(UnitscopeError, match="unknown labelling method 'datset'"):
        rivals.taken(["datset"])


def test_what_is_missing_is_said_before_anything_is_computed():
    assert rivals.lacking("conceptshap") == "" == rivals.lacking("dataset")
    assert rivals.lacking("clip_dissect", "conse") == ""
    assert "takes an encoder of both" in rivals.lacking("clip_dissect")
    assert "unknown labelling method" in rivals.lacking("clip_disect")
