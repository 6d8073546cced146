"""Results change only where versions do: the guard of `core.foundation.versions`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.foundation.versions import VERSIONS, WORLD
from tests import golden
from tests.golden import Computation, Inputs, code_digest, differences, figures, judge, now
from tests.golden_data import all_readers

READERS = sorted(f"reader {reader.__name__}" for reader in all_readers())


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def listed() -> dict[str, Computation]:
    return golden.computations()


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    return golden.recorded()


@pytest.mark.parametrize(
    "name", [*VERSIONS, *READERS, pytest.param("WORLD", marks=pytest.mark.slow)]
)
def test_results_are_the_recorded_ones(name, listed, held, given):
    assert name in listed, f"{name} has no golden function: tests/golden_results.py needs one"
    computation = listed[name]
    wrong, _ = judge(name, computation, held["computations"].get(name), now(computation, given))
    hint = golden.other_packages(held["packages"])
    assert not wrong, f"{wrong}{'; ' * bool(hint)}{hint}"


def test_nothing_else_is_guarded_or_recorded(listed, held):
    assert set(listed) == {*VERSIONS, *READERS, "WORLD"}
    assert list(held["computations"]) == list(listed), "`make golden` puts this right"
    assert golden.FILE.stat().st_size < 200_000
    assert held["computations"]["WORLD"]["version"] == WORLD


# -- the guard itself, on a made-up computation -----------------------------------------------


@pytest.fixture
def made_up(tmp_path, monkeypatch) -> Iterator[Computation]:
    """Means of fixed numbers, version 1, recorded in tmp_path/golden.json."""
    monkeypatch.setattr(golden, "ROOT", tmp_path)
    (tmp_path / "means.py").write_text("x = 1\n")
    made = Computation(lambda _: means(1.0), ("means",), lambda: 1, "raise VERSIONS['means']")
    assert run(tmp_path, made, "--record") == 0
    yield made


def means(last: float) -> dict[str, Any]:
    values = np.array([1.0, 3.0, last])
    return {"mean": float(values.mean()), "largest": int(values.argmax()), "all": np.arange(99.0)}


def run(folder: Path, made: Computation, *arguments: str) -> int:
    return golden.main(arguments, {"means": made}, folder / "golden.json")


def test_nothing_changed(made_up, tmp_path, capsys):
    before = (tmp_path / "golden.json").read_bytes()
    assert run(tmp_path, made_up) == 0
    assert run(tmp_path, made_up, "--record") == 0
    assert "nothing changed" in capsys.readouterr().out
    assert (tmp_path / "golden.json").read_bytes() == before


def test_changed_results_fail_and_are_not_recorded(made_up, tmp_path, capsys):
    before = (tmp_path / "golden.json").read_bytes()
    other = replace(made_up, results=lambda _: means(4.0))
    # A change of the code is no excuse.
    (tmp_path / "means.py").write_text("x = 2\n")
    for arguments in ((), ("--record",)):
        capsys.readouterr()
        assert run(tmp_path, other, *arguments) == 1
        told = capsys.readouterr().out
        assert "results of means changed under the same version" in told
        assert "mean was 1.6666666666666667, is 2.6666666666666665" in told
        assert "largest was 1, is 2" in told and "raise VERSIONS['means'] if this is meant" in told
    assert "Nothing was recorded" in told
    assert (tmp_path / "golden.json").read_bytes() == before


def test_a_raised_version_is_recorded(made_up, tmp_path, capsys):
    raised = replace(made_up, results=lambda _: means(4.0), version=lambda: 2)
    assert run(tmp_path, raised) == 1
    assert "means has a new version: `make golden` records" in capsys.readouterr().out
    assert run(tmp_path, raised, "--record") == 0 and run(tmp_path, raised) == 0
    capsys.readouterr()
    # And back it never goes.
    assert run(tmp_path, made_up) == run(tmp_path, made_up, "--record") == 1
    assert "a version never goes back" in capsys.readouterr().out


def test_changed_code_with_equal_results_is_recorded(made_up, tmp_path, capsys):
    (tmp_path / "means.py").write_text("x = 1  # why\n")
    assert run(tmp_path, made_up) == 0
    (tmp_path / "means.py").write_text("x = 2\n")
    capsys.readouterr()
    assert run(tmp_path, made_up) == 1
    told = capsys.readouterr().out
    assert "code of means changed, its results did not: `make golden` records that" in told
    assert run(tmp_path, made_up, "--record") == 0 and run(tmp_path, made_up) == 0


def test_a_module_that_is_missing_fails(made_up, tmp_path):
    (tmp_path / "means.py").unlink()
    with pytest.raises(FileNotFoundError):
        run(tmp_path, made_up)


def test_what_is_not_recorded_fails(made_up, tmp_path, capsys):
    (tmp_path / "golden.json").unlink()
    assert run(tmp_path, made_up) == 1
    assert "means is not recorded" in capsys.readouterr().out


def test_another_processor_passes_and_another_number_does_not():
    values = np.random.default_rng(0).normal(size=(7, 30)).astype(np.float32)
    before = figures({"maps": values, "counts": (values > 0).astype(int), "few": [0.0, 1.5]})
    near = figures({"maps": values * (1 + 1e-6), "counts": (values > 0), "few": [1e-9, 1.5]})
    assert differences(before, near, golden.TRAINED) == []
    assert differences(before, near, golden.CLOSE)
    for change in ("maps", "counts"):
        off = {"maps": values.copy(), "counts": (values > 0).astype(int), "few": [0.0, 1.5]}
        off[change][3, 4] += 1
        told = differences(before, figures(off), golden.TRAINED)
        assert told and all(line.startswith(change) for line in told)
    exchanged = values.copy()
    exchanged[[0, 1]] = exchanged[[1, 0]]
    assert differences(figures({"m": values}), figures({"m": exchanged}), golden.TRAINED)
    assert differences(figures({"n": 3}), figures({"n": 3.0}), 0.1) == ["n was 3, is 3.0"]
    assert differences(figures([0.5, float("nan")]), figures([0.5, 0.5]), 0.1)
    assert differences({"a": 1}, {"b": 1}, 0.1) == ["a is gone", "b is new"]


def test_code_digest_is_of_what_code_does(tmp_path):
    file = tmp_path / "a.py"
    texts = ['"""Doc."""\nx = 1  # why\n', '"""Other."""\nx   = 1\n', '"""Doc."""\nx = 2\n']
    digests = []
    for text in texts:
        file.write_text(text)
        digests.append(code_digest([file]))
    assert digests[0] == digests[1] != digests[2]
