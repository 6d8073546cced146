"""What a run file says of itself: typed settings, and what was raised since."""

from __future__ import annotations

import pytest

from core.datasets.readers.folder import Folder
from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.versions import VERSIONS
from core.runs.facts import Facts, RunSettings


def test_settings_are_those_of_the_file(tiny_run):
    stored, read = tiny_run.info["settings"], tiny_run.settings
    assert (read.dataset.spec, read.dataset.digest) == tuple(stored["dataset"].values())
    assert read.model.spec == stored["model"]["spec"] and read.model.code is not None
    assert read.grid == tuple(stored["grid"]) and read.has_grid and read.keep_maps
    names = ("q", "shuffles", "map_type", "precision", "batch", "preprocessing", "splits")
    assert [getattr(read, name) for name in names] == [stored[name] for name in names]
    assert tiny_run.measured_accuracy.scored == tiny_run.info["accuracy"]["scored"]


def test_an_entry_that_is_missing_is_told_where_it_is_asked_for():
    old = RunSettings(Facts(q=None, grid=None))
    assert old.q is None and old.shuffles is None and not old.keep_maps and old.versions is None
    with pytest.raises(Damaged, match="no 'precision'"):
        _ = old.precision
    with pytest.raises(UnitscopeError, match="predictions alone"):
        _ = old.grid


def test_raised_computations_and_readers_are_said(tiny_run, monkeypatch):
    assert tiny_run.older_versions == ""
    monkeypatch.setitem(VERSIONS, "dissection", 9)
    monkeypatch.setattr(Folder, "VERSION", 2)
    assert tiny_run.older_versions == (
        "by version 1 of dissection (now 9) and by version 1 of reader folder (now 2)"
    )
