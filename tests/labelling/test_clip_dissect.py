"""CLIP-Dissect's labels of a run's units."""

from __future__ import annotations

import numpy as np
import pytest

from core.foundation.errors import BadFile, NoEffect, UnitscopeError, allow_empty
from core.foundation.progress import Stopped
from core.labelling.clip_dissect import by_similarity, read_words
from core.labelling.encoders import load_encoder
from core.labelling.methods import LABELLING, label_units
from core.labelling.probe import open_probe
from core.labelling.similarity import SIMILARITIES, cosines
from tests.labelling.feature_files import arrays, write

CLIP = [row.name for row in LABELLING if row.family == "similarity"]


@pytest.fixture(scope="module")
def probe(tiny_run):
    return open_probe(tiny_run, "body.3")


@pytest.fixture(scope="module")
def spec(tiny_run, tmp_path_factory) -> str:
    return write(tmp_path_factory.mktemp("features") / "f.npz", arrays(tiny_run))


@pytest.fixture(scope="module")
def free(tiny_run, tmp_path_factory) -> str:
    """Features of other words, two of which name concepts."""
    words = ["zebra", "Things 2", "piece_7", "moon", "barn, shed"]
    return write(tmp_path_factory.mktemp("free") / "f.npz", arrays(tiny_run, 3, words))


@pytest.mark.parametrize("method", CLIP)
def test_a_label_is_the_word_of_the_largest_similarity(probe, spec, method):
    labels = label_units(probe, method, encoder=spec)
    encoder = load_encoder(spec)
    names = probe.concepts["name"].tolist()
    p = cosines(
        encoder.image_features(probe.run, probe.numbers),
        encoder.word_features(probe.run, names),
    )
    similarity = dict(LABELLING.row(method).options)["similarity"]
    near = SIMILARITIES[similarity](probe.activations, p)
    for row in labels.frame.itertuples():
        best, second = np.argsort(-near[row.unit], kind="stable")[:2]
        assert (row.label, row.second) == (names[best], names[second])
        assert (row.score, row.second_score) == (near[row.unit, best], near[row.unit, second])
        ((weight, formula),) = labels.terms[row.unit]
        assert weight == 1 and formula.concepts == (int(probe.concepts["concept"][best]),)
    assert len(labels.frame) == probe.run.unit_count("body.3") and not labels.unread
    assert labels.note == encoder.note


def test_free_words_stay_words_and_those_that_name_concepts_say_so(probe, free):
    labels = label_units(
        probe, "clip_dissect", encoder=free, words=["zebra", "Things 2", "piece_7", "moon"]
    )
    for row in labels.frame.itertuples():
        named = {"Things 2": "thing 2", "piece_7": "piece 7"}.get(row.label)
        assert row.concepts == named
        assert bool(labels.terms[row.unit]) == (named is not None)
        assert (row.unit in labels.unread) == (named is None)
        assert row.kind == ("normalised" if named else "none")
    assert {"zebra", "moon"} & set(labels.frame["label"])


def test_words_come_from_a_file(probe, free, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("zebra\n\n  moon \nbarn, shed\n")
    assert read_words(path) == ["zebra", "moon", "barn, shed"]
    frame = by_similarity(probe, "wpmi", free, path)
    assert set(frame["label"]) <= {"zebra", "moon", "barn, shed"}


def test_categories_and_splits_are_those_of_the_probe(tiny_run, spec):
    probe = open_probe(tiny_run, "body.1", ["train"], ["part"])
    frame = by_similarity(probe, "wpmi", spec)
    assert frame["label"].str.startswith("piece").all()
    whole = by_similarity(open_probe(tiny_run, "body.1", categories=["part"]), "wpmi", spec)
    assert not np.allclose(frame["score"], whole["score"])
    with pytest.raises(UnitscopeError, match="100 photos that each unit is most active in"):
        by_similarity(probe, "softwpmi", spec)


def test_a_unit_that_is_always_the_same_has_no_label(probe, spec):
    still = open_probe(probe.run, "body.3")
    rows = probe.activations.copy()
    rows[:, 4] = 0
    still.__dict__["activations"] = rows
    frame = by_similarity(still, "softwpmi", spec)
    assert frame["unit"].tolist() == [u for u in range(rows.shape[1]) if u != 4]


def test_an_encoder_is_asked_for(probe):
    with pytest.raises(UnitscopeError, match=r"an encoder makes: name one, open_clip:MODEL:FILE"):
        label_units(probe, "clip_dissect")


def test_words_that_the_encoder_does_not_know_are_told(probe, free):
    given = ["zebra", "moon", "yak"]
    with pytest.raises(NoEffect, match=r"no features of 1 of 3 words: yak\. Leave them out"):
        by_similarity(probe, "wpmi", free, given)
    told: list[str] = []
    with allow_empty(told.append):
        frame = by_similarity(probe, "wpmi", free, given)
    assert set(frame["label"]) <= {"zebra", "moon"} and len(told) == 1
    with allow_empty(told.append), pytest.raises(UnitscopeError, match="no choice between words"):
        by_similarity(probe, "wpmi", free, ["zebra", "yak"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has 0 words; 2 to 200,000"),
        (b"bed\n", "has 1 words"),
        (b"b\xe9d\nlamp\n", "is not UTF-8 text"),
        (b"x" * 201 + b"\nbed\n", "line 1 has 201 characters"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path, text, why):
    path = tmp_path / "words.txt"
    path.write_bytes(text)
    with pytest.raises(BadFile, match=why):
        read_words(path)


def test_a_word_twice_and_a_list_that_is_too_long_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "words.txt"
    path.write_text("bed\nlamp\nbed\n")
    with pytest.raises(NoEffect, match="line 3 is 'bed' again, as line 1"):
        read_words(path)
    with pytest.raises(BadFile, match="does not exist"):
        read_words(tmp_path / "nothing.txt")
    monkeypatch.setattr("core.labelling.clip_dissect.MOST_FILE", 5)
    with pytest.raises(BadFile, match="is larger than 5 bytes"):
        read_words(path)


def test_control_characters_are_written_out(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("bed\x1b[2J\nlamp\n")
    assert read_words(path) == ["bed\\x1b[2J", "lamp"]


def test_it_can_be_watched_and_stopped(probe, spec):
    stages = []
    label_units(
        probe, "clip_dissect", encoder=spec, progress=lambda at: stages.append((at.stage, at.done))
    )
    assert stages[-1] == ("mutual information", len(probe.concepts))
    with pytest.raises(Stopped):
        label_units(probe, "clip_dissect", encoder=spec, stop=lambda: True)
