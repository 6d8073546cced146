"""Labels near to free text: against a loop, by features from a file and by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.cli import main
from core.foundation.errors import UnitscopeError
from core.labelling.bench import compare
from core.labelling.encoders import load_encoder
from core.labelling.probe import held_out, open_probe
from core.labelling.search import near
from core.runs.run_file import Run
from core.views import benches
from tests.labelling import feature_files

LAYER = "body.3"
TEXT = "Somewhere to sleep"


@pytest.fixture(scope="module")
def own_run(tiny_run, tmp_path_factory) -> Run:
    """A copy: benches are kept beside it."""
    path = Path(shutil.copy(tiny_run.path, tmp_path_factory.mktemp("own")))
    shutil.copytree(tiny_run.arrays, path.with_suffix(".arrays"))
    return Run(path)


@pytest.fixture(scope="module")
def bench(own_run):
    probes = [open_probe(own_run, LAYER, splits) for splits in held_out(own_run)]
    return compare(*probes, ("dataset", "linear"))


def spec_of(own_run, folder, without: str = "") -> str:
    names = own_run.sql("SELECT DISTINCT name FROM concepts ORDER BY name")["name"].tolist()
    words = [TEXT.lower(), *(name for name in names if name != without)]
    return feature_files.write(folder / "f.npz", feature_files.arrays(own_run, 3, words))


def test_rows_come_by_the_cosine_of_the_nearest_name(bench, own_run, tmp_path):
    encoder = load_encoder(spec_of(own_run, tmp_path))
    found = near(bench, own_run, TEXT, encoder)
    own = encoder.word_features(own_run, [TEXT.lower()])[0].astype(float)

    def cosine(name: str) -> float:
        other = encoder.word_features(own_run, [name])[0].astype(float)
        return float(own @ other / np.linalg.norm(own) / np.linalg.norm(other))

    assert len(found) == len(bench.units)
    for row in found.itertuples():
        cosines = [cosine(name) for name in row.concepts]
        assert row.near == pytest.approx(max(cosines), abs=1e-6)
        assert row.name == row.concepts[int(np.argmax(cosines))] == row.concepts[row.place - 1]
    assert found["near"].is_monotonic_decreasing
    ties = found[found["near"] == found["near"].iloc[0]]
    assert len(ties) > 1 and ties["image"].is_monotonic_decreasing


def test_what_the_encoder_does_not_know_is_said_or_left_out(bench, own_run, tmp_path):
    gone = bench.units["concepts"].iloc[0][0]
    encoder = load_encoder(spec_of(own_run, tmp_path, gone))
    found = near(bench, own_run, TEXT, encoder)
    assert 0 < len(found) < len(bench.units) and gone not in set(found["name"])
    with pytest.raises(UnitscopeError, match="does not know 'a zebra'"):
        near(bench, own_run, "a zebra", encoder)
    with pytest.raises(UnitscopeError, match="which text"):
        near(bench, own_run, " _ ", encoder)


def test_by_the_command_line_and_on_a_page(own_run, tmp_path, capsys):
    spec = spec_of(own_run, tmp_path)
    given = ["labels", own_run.digest, "--out", str(own_run.path.parent), "--layer", LAYER]
    given += ["--methods", "dataset,clip_cosine", "--by", "none", "--encoder", spec]
    assert main([*given, "--find", TEXT, "--top", "5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])["units"]
    assert len(told) == 5 and [row["near"] for row in told] == sorted(
        (row["near"] for row in told), reverse=True
    )
    assert main([*given, "--find", TEXT]) == 0
    assert "cosine" in capsys.readouterr().out
    kept = next(
        one for one in benches.kept_benches(own_run, LAYER) if benches.encoder_of(one) == spec
    )
    rows = benches.near_rows(own_run, kept, TEXT, 5)
    assert rows["unit"].tolist() == [row["unit"] for row in told]
    assert rows["near"].tolist() == pytest.approx([row["near"] for row in told])
