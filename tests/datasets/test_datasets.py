"""Data sets by their SPEC."""

from __future__ import annotations

import doctest
import sys
import types

import pytest

import core.datasets
import core.datasets.readers.broden
from core.datasets import KINDS, open_dataset
from core.foundation.errors import UnitscopeError
from tests.datasets.files import folder_dataset, write


def test_unknown_kinds_tell_the_nearest_and_all_forms(tmp_path):
    with pytest.raises(UnitscopeError, match="unknown dataset 'nyu:x'; nearest: nyuv2:DIR"):
        open_dataset("nyu:x")
    for spec in ("", "moon", "C:\\photos"):
        with pytest.raises(UnitscopeError) as wrong:
            open_dataset(spec)
        assert all(kind.form in str(wrong.value) for kind in KINDS)
        assert "to read that folder" not in str(wrong.value)
    with pytest.raises(UnitscopeError, match=f"write folder:{tmp_path}"):
        open_dataset(str(tmp_path))
    for name in ("label.csv", "index_ade20k.csv"):
        write(tmp_path / name, "")
    with pytest.raises(UnitscopeError, match=f"write broden:{tmp_path}"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("kind", [kind.name for kind in KINDS if kind.name != "rooms"])
def test_missing_folders_tell_the_nearest(tmp_path, kind):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UnitscopeError, match=r"no such folder; nearest: photos"):
        open_dataset(f"{kind}:{tmp_path / 'photo'}")
    with pytest.raises(UnitscopeError, match=f"{kind}:DIR"):
        open_dataset(f"{kind}:")
    with pytest.raises(UnitscopeError, match="is a file"):
        open_dataset(f"{kind}:{write(tmp_path / 'file', '')}")


def test_rooms_is_opened_by_its_class(monkeypatch, tmp_path):
    opened = folder_dataset(tmp_path)
    module = types.ModuleType("core.rooms")
    module.Rooms = types.SimpleNamespace(from_spec=lambda rest: (opened, asked.append(rest))[0])
    asked: list[str] = []
    monkeypatch.setitem(sys.modules, "core.rooms", module)
    assert open_dataset("rooms") is opened and open_dataset("rooms:small") is opened
    assert asked == ["", "small"]


def test_examples_in_the_docstrings():
    for module in (core.datasets, core.datasets.readers.broden):
        assert doctest.testmod(module).failed == 0
