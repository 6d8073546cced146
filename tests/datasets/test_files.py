"""The digest of a data set's content."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np

from core.datasets import open_dataset
from tests.datasets.files import LABELS, folder_dataset, folder_tree, picture, save, write


def test_the_digest_follows_content_and_nothing_else(tmp_path):
    digest = folder_dataset(tmp_path / "one").content_digest()
    assert len(digest) >= 32 and int(digest, 16) > 0
    elsewhere = folder_dataset(tmp_path / "two")
    assert elsewhere.content_digest() == digest == elsewhere.content_digest()
    copy = pickle.loads(pickle.dumps(elsewhere))
    assert copy.content_digest() == digest and copy.annotations(0).maps.shape == (4, 30, 40)

    def after(change) -> str:
        shutil.rmtree(tmp_path / "two")
        root = folder_tree(tmp_path / "two")
        change(root)
        return open_dataset(f"folder:{root}").content_digest()

    changes = [
        lambda root: save(root / "images/b.jpg", picture(40, 30, 4)),
        lambda root: save(root / "masks/b.png", np.ones((30, 40), np.uint8)),
        lambda root: (root / "masks/b.png").rename(root / "masks/k.png"),
        lambda root: (root / "masks/b.png").rename(root / "masks/b.object.png"),
        lambda root: write(root / "labels.csv", LABELS.replace("lamp", "light")),
        lambda root: write(root / "labels.csv", LABELS.replace("255", "254,bin,object\n255")),
        lambda root: write(root / "scenes.csv", "image,scene\na,bedroom\nb,bedroom\nk/c,kitchen\n"),
    ]
    digests = [after(change) for change in changes]
    assert len({digest, *digests}) == 1 + len(changes)
    assert after(lambda root: (root / "images/notes.txt").touch()) == digest


def test_the_digest_counts_files_that_went_missing(tmp_path):
    data = folder_dataset(tmp_path)
    whole = folder_dataset(tmp_path).content_digest()
    Path(data.photo_files[0]).unlink()
    assert data.content_digest() != whole
