"""Data sets by their SPEC."""

from __future__ import annotations

import doctest
import subprocess
import sys

import pytest

import core.datasets
import core.datasets.readers.broden
from core.datasets import open_dataset, registry
from core.datasets.registry import DATASETS
from core.foundation.errors import UnitscopeError
from core.foundation.settings import ROOT
from core.rooms.dataset import Rooms
from tests.datasets.files import write


def test_unknown_kinds_tell_the_nearest_and_all_forms(tmp_path):
    with pytest.raises(UnitscopeError, match="unknown dataset 'nyu:x'; nearest: nyuv2:DIR"):
        open_dataset("nyu:x")
    for spec in ("", "moon", "C:\\photos"):
        with pytest.raises(UnitscopeError) as wrong:
            open_dataset(spec)
        assert all(kind.form in str(wrong.value) for kind in DATASETS)
        assert "to read that folder" not in str(wrong.value)
    with pytest.raises(UnitscopeError, match=f"write folder:{tmp_path}"):
        open_dataset(str(tmp_path))
    for name in ("label.csv", "index_ade20k.csv"):
        write(tmp_path / name, "")
    with pytest.raises(UnitscopeError, match=f"write broden:{tmp_path}"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("kind", [k.name for k in DATASETS if k.name not in ("rooms", "python")])
def test_missing_folders_tell_the_nearest(tmp_path, kind):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UnitscopeError, match=r"no such folder; nearest: photos"):
        open_dataset(f"{kind}:{tmp_path / 'photo'}")
    with pytest.raises(UnitscopeError, match=f"{kind}:DIR"):
        open_dataset(f"{kind}:")
    with pytest.raises(UnitscopeError, match="is a file"):
        open_dataset(f"{kind}:{write(tmp_path / 'file', '')}")


def test_rooms_is_opened_by_its_class():
    plain, other = open_dataset("rooms"), open_dataset("rooms:per_scene=3,seed=8")
    assert isinstance(plain, Rooms) and plain.spec == "rooms"
    assert isinstance(other, Rooms) and (other.seed, other.per_scene) == (8, 3)


def test_examples_in_the_docstrings():
    for module in (core.datasets, core.datasets.readers.broden):
        assert doctest.testmod(module).failed == 0


def test_versions_that_are_said_without_an_import_are_those_of_the_readers():
    """The first page asks for the versions of the readers of all runs."""
    code = (
        "import sys; from core.datasets.registry import reader_versions; "
        "print(reader_versions('rooms'), 'numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "{1} False\n", done.stderr
    said = [row for row in registry.DATASETS if row.versions]
    assert [row.name for row in said] == ["rooms"]
    for row in said:
        assert set(row.versions) == registry._imported_versions(row)
