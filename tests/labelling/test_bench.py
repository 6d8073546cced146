"""The bench: methods scored on photos that their labels were not learned from."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from core.cli import main
from core.foundation.errors import NoEffect, UnitscopeError
from core.foundation.progress import Stopped
from core.labelling.bench import compare, main_concept, positive_concepts
from core.labelling.judged import kept_benches
from core.labelling.label import parse
from core.labelling.methods import LABELLING, LabelMethod, label_units
from core.labelling.probe import held_out, open_probe
from core.labelling.simulation import simulate

LAYER = "body.3"
METHODS = ("dataset", "formula", "single", "linear")


@pytest.fixture(scope="module")
def probes(tiny_run):
    learned, judged = held_out(tiny_run)
    return open_probe(tiny_run, LAYER, learned), open_probe(tiny_run, LAYER, judged)


@pytest.fixture(scope="module")
def bench(probes):
    return compare(*probes, METHODS)


def test_figures_are_those_of_the_parts(bench, probes):
    learn, judge = probes
    assert bench.methods == list(METHODS) and not bench.left_out and bench.asked.by == ""
    table = bench.table.set_index("method")
    for method in METHODS:
        alone = simulate(judge, label_units(learn, method).terms)
        row = table.loc[method]
        assert row["image"] == alone.mean and (row["image_low"], row["image_high"]) == (
            alone.interval
        )
        units = bench.units[bench.units["method"] == method].set_index("unit")
        assert (units["image"] == alone.scores[units.index]).all()
    assert table.loc["dataset", "times"] == 1
    assert table["causal"].isna().all() and (table["judged"] == 0).all()
    assert np.diag(bench.same) == pytest.approx(1) and (bench.same == bench.same.T).all().all()


def test_units_are_found_by_a_concept(bench, probes):
    name = bench.units["label"][0]
    found = bench.find(name)
    assert (found["place"].diff().dropna() >= 0).all() and found["place"].iloc[0] == 1
    number, learn = probes[0].ids[name], probes[0]
    for row in found.itertuples():
        terms = label_units(learn, row.method).terms[row.unit]
        assert positive_concepts(terms)[row.place - 1] == number
    with pytest.raises(UnitscopeError, match="unknown concept that a label names 'zebra'"):
        bench.find("zebra")


def test_one_method_that_fails_takes_no_other_down(probes):
    row = LabelMethod("broken", "broken", "never works", "tests.labelling.test_bench:broken")
    LABELLING.register(row)
    try:
        found = compare(*probes, ("single", "broken"))
        assert found.methods == ["single"]
        assert found.left_out == {"broken": "this method has nothing to say; ask another"}
        with pytest.raises(UnitscopeError, match="no method has labels here: broken: this"):
            compare(*probes, ("broken",))
    finally:
        LABELLING.unregister("broken")


def broken(_probe):
    raise UnitscopeError("this method has nothing to say; ask another")


def test_words_that_name_no_concept_are_shown_and_not_scored(probes):
    row = LabelMethod("free", "free", "free words", "tests.labelling.test_bench:free_words")
    LABELLING.register(row)
    try:
        found = compare(*probes, ("free",))
        assert found.units["label"].tolist() == ["a whiff of thyme", "thing 1"]
        assert found.units["concepts"].tolist() == [(), ("thing 1",)]
        assert found.table["units"][0] == 1 and found.units["image"][0] == 0
        assert found.find("thyme")["unit"].tolist() == [0]
    finally:
        LABELLING.unregister("free")


def free_words(_probe):
    return pd.DataFrame({"unit": [0, 3], "label": ["a whiff of thyme", "thing 1"], "score": 1.0})


def test_what_cannot_be_compared_is_refused(probes):
    learn, judge = probes
    with pytest.raises(UnitscopeError, match="photos that they were learned from"):
        compare(judge, judge)
    with pytest.raises(UnitscopeError, match="unknown labelling method 'lineal'; nearest: linear"):
        compare(learn, judge, ("lineal",))
    with pytest.raises(UnitscopeError, match="none of these methods takes the option 'encoder'"):
        compare(learn, judge, ("linear",), {"encoder": "conse"})
    with pytest.raises(NoEffect, match="'linear' takes no option 'encoder'"):
        label_units(learn, "linear", encoder="conse")
    with pytest.raises(Stopped, match="0 of 2 methods"):
        compare(learn, judge, ("single", "linear"), stop=lambda: True)


def test_concepts_that_a_label_speaks_for():
    ids = {"bed": 1, "lamp": 2, "rug": 3}
    assert positive_concepts(parse("-1 bed + 0.2 (lamp AND NOT rug)", ids)) == [2]
    assert main_concept(parse("-1 bed", ids)) == 0 == main_concept(())


def test_the_verb_says_what_the_bench_says(tiny_run, bench, capsys, tmp_path):
    out = str(tiny_run.path.parent)
    asked = ["labels", tiny_run.digest, "--out", out, "--by", "none", "--methods"]
    assert main([*asked, ",".join(METHODS), "--json", "--csv", str(tmp_path)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["method"] for row in said["methods"]] == list(METHODS)
    assert [row["image"] for row in said["methods"]] == bench.table["image"].tolist()
    written = pd.read_csv(tmp_path / "labels-units.csv")
    assert len(written) == len(bench.units) and len(said["units"]) == 20
    assert main([*asked, "single", "--by", "mean", "--photos", "4", "--unit", "3"]) == 0
    text = capsys.readouterr().out
    assert "causal score: 4 photos, mean" in text and "    3  single" in text
    assert main(["labels", "--list"]) == 0 and "linear" in capsys.readouterr().out
    for wrong, why in (
        (["--unit", "99"], "no unit 99; units are 0 to 11"),
        (["--unit", "1", "--compare"], "asked one at a time"),
        (["--photos", "9"], "--by none"),
    ):
        assert main([*asked, "single", *wrong]) == 2
        assert why in capsys.readouterr().err


def test_the_table_for_a_paper(bench, tiny_run):
    from core.paper.labels import labels_latex

    text = labels_latex(bench, tiny_run)
    assert (
        text.count(r"\\") >= 5 and "single & " in text and "learned from train (75 photos)" in text
    )


def test_a_bench_is_kept_and_read_without_trust(tiny_run, bench):
    bench.keep(tiny_run)
    found = kept_benches(tiny_run, LAYER)[0]
    assert found.asked == bench.asked and found.methods == bench.methods
    assert found.left_out == {}
    pd.testing.assert_frame_equal(found.units, bench.units[found.units.columns])
    pd.testing.assert_frame_equal(found.table, bench.table[found.table.columns])
    assert np.allclose(found.same, bench.same, equal_nan=True)
    assert not kept_benches(tiny_run, "body.1")
    files = list(tiny_run.path.with_suffix(".derived").glob("labels-*.json"))
    texts = {file: file.read_text() for file in files}
    try:
        for file, text in texts.items():
            held = json.loads(text)
            held["units"]["unit"][0] = 10**6  # of another network
            file.write_text(json.dumps(held))
        assert not kept_benches(tiny_run)
        for file in files:
            file.write_text("[" * 10**5)
        assert not kept_benches(tiny_run)
    finally:
        for file, text in texts.items():
            file.write_text(text)
