"""LC(x) by labels of units, photo by photo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.dissect.formula import AND, NOT, OR, Formula
from core.foundation.errors import UnitscopeError
from core.labelling.label import concept
from core.labelling.learned import concepts_said, learned_by_labels
from core.labelling.methods import label_units
from core.labelling.probe import open_probe


@pytest.mark.parametrize("method", ["dataset", "formula"])
@pytest.mark.parametrize("layer", ["body.1", "body.3"])
def test_it_is_the_union_over_the_active_units(tiny_run, method, layer):
    labels = label_units(open_probe(tiny_run, layer, ["train"]), method)
    found = learned_by_labels(tiny_run, layer, labels)
    names = open_probe(tiny_run, layer).names
    assert found.layer == layer and found.strategy == method
    active = tiny_run.sql(
        "SELECT image, unit FROM hits WHERE layer = ? AND hits > 0", [tiny_run.layer(layer)]
    )
    for row in range(0, len(found.images), 11):
        units = active[active["image"] == found.images[row]]["unit"]
        slow = {
            names[k]
            for unit in units
            for k in concepts_said(labels.terms[unit])
            if names[k] not in ("attic", "barn", "cellar")
        }
        has = found.has[[row]].toarray()[0]
        assert {found.concepts[k] for k in np.flatnonzero(has)} == slow
    assert found.has.sum() > 0 and np.isnan(found.tau).all()


def test_a_label_says_what_it_wants_and_not_what_it_excludes():
    terms = ((0.5, Formula((1, 2, 3), (0, OR, NOT))), (-1.0, Formula((4,))), (0.0, Formula((5,))))
    assert concepts_said(terms) == {1, 2}
    assert concepts_said(((1.0, Formula((7, 8), (0, AND))),)) == {7, 8}
    assert concepts_said(()) == set()


def test_labels_of_scenes_and_of_nothing_are_refused(tiny_run):
    probe = open_probe(tiny_run, "body.3")
    labels = label_units(probe, "dataset")
    scene = probe.ids["attic"]
    for terms in ((concept(scene),) * 12, ((),) * 12):
        with pytest.raises(UnitscopeError, match="'dataset' says anything of an annotated concept"):
            learned_by_labels(tiny_run, "body.3", replace(labels, terms=terms))
    with pytest.raises(UnitscopeError, match=r"labels of layer body\.3 of run"):
        learned_by_labels(tiny_run, "body.1", labels)
