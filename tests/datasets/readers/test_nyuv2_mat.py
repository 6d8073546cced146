"""NYU Depth v2 from the published HDF5 file, as MATLAB writes it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from benchmarks.trials import mutate
from core.cli import main
from core.datasets import matlab, open_dataset
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.worker import Worker, WorkerError
from tests import tiny
from tests.datasets.files import says

h5py = pytest.importorskip("h5py")

NAMES = ("wall", "floor", "bed", "odd thing")
SCENES = ("bedroom", "kitchen", "bedroom")


def published(root: Path, splits: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The file with three photos of 40×32; returns images (3, 32, 40, 3) and labels."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 40, 3)).astype(np.uint8)
    labels = rng.integers(0, len(NAMES) + 1, (3, 32, 40)).astype(np.uint16)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        # MATLAB's (height, width, channel, photo), which HDF5 shows in reverse.
        file["images"] = images.transpose(0, 3, 2, 1)
        file["labels"] = labels.transpose(0, 2, 1)
        for name, texts in (("names", NAMES), ("sceneTypes", SCENES)):
            refs = np.empty((1, len(texts)), h5py.ref_dtype)
            for k, text in enumerate(texts):
                codes = np.array([[ord(c)] for c in text], np.uint16)
                refs[0, k] = file.create_dataset(f"#refs#/{name}{k}", data=codes).ref
            file.create_dataset(name, data=refs, dtype=h5py.ref_dtype)
    if splits:
        savemat(root / "splits.mat", {"trainNdxs": [[1], [3]], "testNdxs": [[2]]})
    return images, labels


def test_the_published_file(tmp_path):
    images, labels = published(tmp_path)
    for spec in (f"nyuv2:{tmp_path}", f"nyuv2:{tmp_path / 'nyu_depth_v2_labeled.mat'}"):
        data = open_dataset(spec)
        assert data.ids == ["0", "1", "2"] and data.split == ["train", "test", "train"]
        assert data.scenes == ["bedroom", "kitchen"] and data.scene.tolist() == [0, 1, 0]
        assert tuple(c.name for c in data.concepts) == NAMES and data.problems == []
        for k in range(3):
            photo, maps = data.photo(k), data.annotations(k).maps
            assert photo.size == (40, 32) and maps.shape == (1, 32, 40)
            for y in range(32):
                for x in range(40):
                    assert photo.getpixel((x, y)) == tuple(images[k, y, x])
                    assert maps[0, y, x] == labels[k, y, x]
    with pytest.raises(UnitscopeError, match=f"write nyuv2:{tmp_path}"):
        open_dataset(str(tmp_path))


def test_the_40_classes_where_their_mapping_lies_beside(tmp_path):
    _, labels = published(tmp_path)
    classes = [f"class {k}" for k in range(1, 41)]
    cells = np.empty((1, 40), object)
    cells[0] = classes
    # The fourth label is a class 40, otherprop: not annotated.
    savemat(tmp_path / "classMapping40.mat", {"mapClass": [[1, 2, 1, 40]], "className": cells})
    data = open_dataset(f"nyuv2:{tmp_path}")
    assert [c.name for c in data.concepts] == classes[:39]
    expected = np.array([0, 1, 2, 1, 0])[labels[1]]
    assert np.array_equal(data.annotations(1).maps[0], expected)
    savemat(tmp_path / "classMapping40.mat", {"mapClass": [[1, 2]], "className": cells})
    with pytest.raises(BadFile, match="maps 2 labels to 40 classes, not 4"):
        open_dataset(f"nyuv2:{tmp_path}")


def test_what_is_missing_or_damaged_is_told(tmp_path):
    published(tmp_path, splits=False)
    data = open_dataset(f"nyuv2:{tmp_path}")
    assert set(data.split) == {"all"} and says(data.problems, "splits.mat", "one split")
    before = data.content_digest()
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[4]]})
    with pytest.raises(BadFile, match="testNdxs has 4, and there are 3 photos"):
        open_dataset(f"nyuv2:{tmp_path}")
    savemat(tmp_path / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[2]]})
    data = open_dataset(f"nyuv2:{tmp_path}")
    assert data.split == ["train", "test", "all"] and data.content_digest() != before
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "r+") as file:
        file["labels"][1, 0, 0] = 9
    with pytest.raises(BadFile, match="unknown label values 9"):
        data.annotations(1)
    path = tmp_path / "nyu_depth_v2_labeled.mat"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(BadFile, match="cannot be read"):
        data.photo(0)
    with pytest.raises(BadFile, match="is not the whole published file"):
        open_dataset(f"nyuv2:{tmp_path}")


def broken_type(path: Path) -> None:
    """A number of a data type that MATLAB does not have: SciPy's reader ends the process."""
    data = bytearray(path.read_bytes())
    data[data.index(b"trainNdxs") + 16] = 8
    path.write_bytes(data)


def test_a_file_that_ends_its_reader_is_a_sentence(tmp_path, capsys):
    """`datasets check` ended with a segmentation fault, without a word."""
    published(tmp_path)
    path = tmp_path / "splits.mat"
    broken_type(path)
    read = f"from scipy.io import loadmat; loadmat({str(path)!r})"
    if subprocess.run([sys.executable, "-c", read], capture_output=True).returncode >= 0:
        pytest.skip("this SciPy refuses it")
    with pytest.raises(BadFile, match=r"splits\.mat.*is not a whole MATLAB file.*ended"):
        open_dataset(f"nyuv2:{tmp_path}")
    assert main(["datasets", "check", f"nyuv2:{tmp_path}"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    savemat(path, {"trainNdxs": [[1], [3]], "testNdxs": [[2]]})
    assert open_dataset(f"nyuv2:{tmp_path}").split == ["train", "test", "train"]  # by another one


def test_mutated_files_are_read_or_refused(tmp_path):
    published(tmp_path)
    for name in ("nyu_depth_v2_labeled.mat", "splits.mat"):
        path = tmp_path / name
        good = path.read_bytes()
        for seed in range(25):
            path.write_bytes(mutate(good, random.Random(seed)))
            with suppress(BadFile):
                data = open_dataset(f"nyuv2:{tmp_path}")
                for k in range(3):
                    assert data.photo(k).size and data.annotations(k).maps.ndim == 3
        path.write_bytes(good)


@pytest.mark.parametrize("how", ["ends", "sleeps", "raises"])
def test_a_worker_may_end_sleep_or_raise(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "def answer(request):\n"
        "    if request['do'] == 'ends': os._exit(3)\n"
        "    if request['do'] == 'sleeps': time.sleep(60)\n"
        "    if request['do'] == 'raises': raise ValueError('it is blue')\n"
        "    print('noise')\n"
        "    return b'x' * 3_000_000\n"
    )
    worker = Worker(script, "the script", 5.0)
    said = {"ends": "the script ended", "sleeps": "more than 5 s", "raises": "it is blue"}
    with pytest.raises(WorkerError, match=said[how]):
        worker.ask({"do": how})
    assert worker.ask({"do": "work"}) == b"x" * 3_000_000
    pid = os.fork()
    if pid == 0:  # a forked process speaks with a worker of its own
        os._exit(0 if len(worker.ask({"do": "work"})) == 3_000_000 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert worker.ask({"do": "work"}) == b"x" * 3_000_000
    worker.close()


def test_many_threads_read_alike(tmp_path):
    images, labels = published(tmp_path)
    data = open_dataset(f"nyuv2:{tmp_path}")
    with ThreadPoolExecutor(8) as pool:
        for k, photo, found in pool.map(
            lambda k: (k % 3, data.photo(k % 3), data.annotations(k % 3)), range(60)
        ):
            assert np.array_equal(np.asarray(photo), images[k])
            assert np.array_equal(found.maps[0], labels[k])


def test_without_h5py_the_package_is_named(tmp_path, monkeypatch):
    published(tmp_path)
    monkeypatch.setattr(matlab, "find_spec", lambda name: None)
    with pytest.raises(UnitscopeError, match="pip install h5py"):
        open_dataset(f"nyuv2:{tmp_path}")


def test_the_published_file_is_dissected(tmp_path):
    published(tmp_path / "nyu")
    run = tiny.dissect(f"nyuv2:{tmp_path / 'nyu'}", tmp_path / "runs", splits=("train",))
    assert run.info["images"] == {"planned": 2, "used": 2}
    assert set(run.sql("SELECT name FROM concepts WHERE area > 0")["name"]) >= set(NAMES)
