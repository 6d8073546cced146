"""Labels that were made elsewhere: our own layout, the published ones, and files that are wrong."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.foundation.errors import BadFile, NoEffect, UnitscopeError
from core.labelling import imports
from core.labelling.imports import LAYOUTS, by_table, read_labels
from core.labelling.methods import label_units
from core.labelling.probe import open_probe

UNITS = 12


@pytest.fixture
def table(tmp_path):
    """Writes a file and gives its path."""

    def write(text: str | bytes, name: str = "labels.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture(scope="module")
def probe(tiny_run):
    return open_probe(tiny_run, "body.3")


# -- layouts ------------------------------------------------------------------------------------


def test_our_own_layout(table):
    path = table("Unit,LABEL,score,notes\n3,bed,0.5,x\n\n0,lamp (old),-1e-2,\n")
    read = read_labels(path, "layer4", 4)
    assert read.layout.name == "Unitscope's" and read.method == ""
    assert read.frame["unit"].tolist() == [0, 3]
    assert read.frame["label"].tolist() == ["lamp (old)", "bed"]
    assert read.frame["score"].tolist() == [-0.01, 0.5]
    assert read.frame["line"].tolist() == [4, 2]


def test_the_published_tally_counts_units_from_1(data_dir):
    path = data_dir / "reference" / "netdissect_resnet18_places365_layer4.csv"
    read = read_labels(path, "layer4", 512)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert read.layout.name == "NetDissect's tally" and len(read.frame) == 512
    for row, own in zip(rows, read.frame.itertuples(), strict=True):
        assert own.unit == int(row["unit"]) - 1
        assert (own.label, own.category) == (row["label"], row["category"])
        assert own.score == float(row["score"])
    assert read.frame["label"][0] == "reception-s"


def test_the_published_descriptions_are_those_of_their_layer(data_dir):
    path = data_dir / "reference" / "clip_dissect_resnet18_places365.csv"
    read = read_labels(path, "layer4", 512)
    assert read.layout.name == "CLIP-Dissect's" and len(read.frame) == 512
    assert read.frame["label"][:3].tolist() == ["kitchen", "shops", "pizza"]
    conv = read_labels(f"{path}#conv1", "features.0", 64)
    assert conv.frame["label"][:2].tolist() == ["halloween", "darkness"]
    assert conv.frame["score"][0] == 0.12890625
    with pytest.raises(UnitscopeError, match="layer4 has units 0 to 255: these are labels of anot"):
        read_labels(path, "layer4", 256)
    with pytest.raises(UnitscopeError, match=r"has labels of conv1, layer1, .*#conv1"):
        read_labels(path, "features.7", 512)
    with pytest.raises(UnitscopeError, match="unknown layer of the file 'layer5'; nearest: layer4"):
        read_labels(f"{path}#layer5", "layer4", 512)


def test_both_published_files_are_of_one_network(data_dir):
    """Units counted from 1 and from 0 meet: a unit's two labels have to do with one another more
    often than its neighbours'."""
    folder = data_dir / "reference"
    tally = read_labels(folder / "netdissect_resnet18_places365_layer4.csv", "layer4", 512).frame
    words = read_labels(folder / "clip_dissect_resnet18_places365.csv", "layer4", 512).frame

    def same(shift: int) -> int:
        ours = [text.removesuffix("-s").rstrip("s") for text in tally["label"]]
        theirs = [text.rstrip("s") for text in np.roll(words["label"], shift)]
        return sum(a.split("-")[0] == b for a, b in zip(ours, theirs, strict=True))

    assert same(0) > 40 and same(0) > 5 * max(same(1), same(-1))


@pytest.mark.parametrize(
    ("text", "layout", "labels", "scores"),
    [
        # As the files of CoSy's repository begin.
        (
            "neuron,concept,concept_id,metric\n0,lhasa,n02098413,0.9336\n1,bookshop,n02871525,0.97\n",
            "INVERT's, of CoSy",
            ["lhasa", "bookshop"],
            [0.9336, 0.97],
        ),
        (
            'layer,unit,description\nlayer4,0,Faces of dogs\nlayer4,1,"Insects, birds"\n',
            "MILAN's",
            ["Faces of dogs", "Insects, birds"],
            [np.nan, np.nan],
        ),
        (
            "group,Unnamed: 0,concept_set_words,concept_set_noun_phrases\n"
            "6,6,\"[('brass', 0.1)]\",\"[('wessex tubas', 0.0475), ('bison eye', 0.03)]\"\n"
            '2,2,"[(\'cage\', 0.2)]","[(""dog\'s cage"", 0.0715)]"\n',
            "FALCON's, of CoSy",
            ["dog's cage", "wessex tubas"],
            [0.0715, 0.0475],
        ),
        (
            'layer,unit,description,similarity\nlayer4,1,"prayer rug, prayer mat",0.16\n',
            "CLIP-Dissect's",
            ["prayer rug, prayer mat"],
            [0.16],
        ),
    ],
)
def test_layouts_of_other_programs(table, text, layout, labels, scores):
    read = read_labels(table(text), "layer4", UNITS)
    assert read.layout.name == layout and read.frame["label"].tolist() == labels
    np.testing.assert_array_equal(read.frame["score"], scores)


def test_a_layer_under_another_name_is_said(table):
    path = table("layer,unit,description\n4,0,Dogs\n4,1,Birds\n")
    with pytest.raises(UnitscopeError, match=r"of 4, and the run's layer is layer4.*labels.csv#4"):
        read_labels(path, "layer4", UNITS)
    assert len(read_labels(f"{path}#4", "layer4", UNITS).frame) == 2
    bare = table("unit,label,score\n0,a,1\n", "bare.csv")
    with pytest.raises(BadFile, match="has no column layer, of which '4'"):
        read_labels(f"{bare}#4", "layer4", UNITS)
    empty = table("unit,label,score,layer\n0,a,1,\n", "empty.csv")
    assert len(read_labels(empty, "layer4", UNITS).frame) == 1


def test_the_method_is_the_file_s_own_word(table):
    assert read_labels(table("unit,label,score,method\n0,a,1,MINE\n"), "l", 2).method == "MINE"
    with pytest.raises(BadFile, match="holds labels of A, B: give those of each method a file"):
        read_labels(table("unit,label,score,method\n0,a,1,A\n1,a,1,B\n"), "l", 2)


def test_a_name_with_a_hash_is_just_a_name(table):
    path = table("unit,label,score\n0,a,1\n", "labels#1.csv")
    assert len(read_labels(path, "l", 1).frame) == 1


# -- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("unit,label,score\n12,a,1\n", "line 2 labels unit 12, and layer4 has units 0 to 11"),
        ("unit,label,score\n-1,a,1\n", "line 2: unit '-1' is no whole number"),
        ("unit,label,score\nconv,a,1\n", "unit 'conv' is no whole number"),
        ("unit,label,score\n9999999999999999999999,a,1\n", "is no whole number"),
        ("unit,label,score\n1,a,1\n2,b,1\n1,c,1\n", "line 4 labels unit 1 again, as line 2"),
        ("unit,label,score\n1,a,nan\n", "line 2: score 'nan' is no finite number"),
        ("unit,label,score\n1,a,inf\n", "is no finite number"),
        ("unit,label,score\n1,a,\n", "line 2: score '' is no finite number"),
        ("unit,label,score\n1,a,high\n", "score 'high' is no finite number"),
        ("unit,label,score\n1,,1\n", "line 2 has no label"),
        ("unit,label,score\n1,a\n", "line 2: 2 cells, not 3"),
        ("unit,label,score\n1,a,1,2\n", "line 2: 4 cells, not 3"),
        ("unit,label,score\n", "labels no unit"),
        ("unit,lable,score\n1,a,1\n", r"has no column 'label' .*'lable' should be called so"),
        ("unit;label;score\n1;a;1\n", "must be separated by commas"),
        ("unit,label,score,unit\n1,a,1,1\n", "has the column 'unit' twice"),
        ("", "is empty"),
        ("unit,label,score\n1," + "a" * 10_001 + ",1\n", "a label of 10001 characters"),
        ("unit,label,score\n1," + "a" * 200_000 + ",1\n", "field larger than field limit"),
        ("unit,label,score\n1,b\xe9d,1\n".encode("latin-1"), "is not UTF-8 text"),
        (
            "unit,category,label,score,object-iou\n0,object,bed,0.1,0.1\n",
            "line 2: unit 0, where NetDissect's tally counts from 1",
        ),
        ("group,concept_set_noun_phrases\n1,__import__('os')\n", "line 2 has no label"),
        ("group,concept_set_noun_phrases\n1,[]\n", "line 2 has no label"),
    ],
)
def test_a_file_with_a_mistake_is_refused_as_a_whole(table, text, why):
    with pytest.raises(BadFile, match=why):
        read_labels(table(text), "layer4", UNITS)


def test_files_that_are_none_are_refused(table, tmp_path, monkeypatch):
    table("x", "labels.csv")
    with pytest.raises(BadFile, match=r"does not exist; nearest: labels\.csv"):
        read_labels(tmp_path / "label.csv", "l", 1)
    with pytest.raises(BadFile, match="does not exist"):
        read_labels(tmp_path, "l", 1)
    monkeypatch.setattr(imports, "MOST_FILE", 10)
    with pytest.raises(BadFile, match="has 23 bytes; a table of labels of 10 is read"):
        read_labels(table("unit,label,score\n1,a,1\n"), "l", 1)


def test_control_characters_are_written_out(table):
    read = read_labels(table("unit,label,score\n0,bed\x1b[2J\u202e,1\n"), "l", 1)
    assert read.frame["label"][0] == "bed\\x1b[2J\\u202e"


def test_utf_16_with_its_mark_is_text(table):
    text = "unit,label,score\n0,Küche,1\n".encode("utf-16")
    assert read_labels(table(text), "l", 1).frame["label"][0] == "Küche"


# -- as a labelling method ------------------------------------------------------------------------


def test_labels_are_brought_to_the_concepts_and_what_is_lost_is_listed(probe, table):
    path = table(
        "unit,label,score\n0,Thing_2,0.9\n1,zebra,0.8\n2,thing 1 OR piece 7,0.7\n"
        '3,"shed, barn",0.6\n5,0.5 thing 1 - 0.25 (barn AND NOT piece 6),0.5\n7,some thing 4,0.4\n'
    )
    labels = label_units(probe, "table", table=path)
    ids = probe.ids
    assert labels.terms[0][0][1].concepts == (ids["thing 2"],)
    assert labels.terms[2][0][1].concepts == (ids["thing 1"], ids["piece 7"])
    assert labels.terms[3][0][1].concepts == (ids["barn"],)
    assert [weight for weight, _ in labels.terms[5]] == [0.5, -0.25]
    assert labels.terms[1] == labels.terms[7] == labels.terms[4] == ()
    assert set(labels.unread) == {1, 7} and "unknown concept 'zebra'" in labels.unread[1]
    frame = labels.frame.set_index("unit")
    assert frame["kind"].tolist() == ["normalised", "none", "formula", "exact", "formula", "none"]
    assert frame["suggested"][7] == "thing 4" and frame["concepts"][1] is None
    assert frame["concepts"][5] == "thing 1, piece 6, barn"
    assert labels.note == (
        "read from labels.csv (layout: Unitscope's); 2 of 6 labels name no concept of the data set"
    )
    assert labels.labelled.tolist() == [u in (0, 2, 3, 5) for u in range(UNITS)]


def test_a_tally_s_category_decides_between_concepts_of_one_name(table):
    frame = pd.DataFrame({"concept": [1, 2], "name": "water", "category": ["object", "material"]})
    from core.labelling.probe import Probe

    made = Probe(None, "layer", (), ())
    made.__dict__["concepts"] = frame.assign(whole=False, usable=True)
    naming = imports.Naming(made)
    terms, _, _ = imports._said(made, naming, "water", "material")
    assert terms[0][1].concepts == (2,)
    both, _, _ = imports._said(made, naming, "water", "texture")
    assert both[0][1].concepts == (1, 2)


def test_a_file_is_asked_for(probe):
    with pytest.raises(UnitscopeError, match="name one, a CSV with the columns unit, label, score"):
        label_units(probe, "table")
    with pytest.raises(NoEffect, match="'dataset' takes no option 'table'"):
        label_units(probe, "dataset", table="x.csv")


def test_all_labels_aligned_is_said_by_silence(probe, table):
    frame = by_table(probe, table("unit,label,score\n0,thing 1,1\n"))
    assert frame.attrs["note"] == "read from labels.csv (layout: Unitscope's)"
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
