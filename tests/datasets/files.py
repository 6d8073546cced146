"""Photos, masks and tables that the tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.decode import read_photo
from core.foundation.errors import BadFile


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def save(path: Path, pixels: np.ndarray | Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def picture(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    """Smooth colours, so that JPEG keeps them, different for each seed."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x // width, 255 * y // height
    return np.stack([red, green, np.full_like(red, 40 + 50 * seed % 200)], -1).astype(np.uint8)


def says(problems, *words: str) -> bool:
    """Whether one problem has all the words."""
    return any(all(word in " ".join(p) for word in words) for p in problems)


def why(path: Path, read=read_photo) -> str:
    """The reason for which `read` refuses the file, told with the file's name."""
    with pytest.raises(BadFile) as refused:
        read(path)
    assert refused.value.path == str(path) and str(path) in str(refused.value)
    return refused.value.reason


LABELS = """value,name,category
1,bed,object
2,lamp,object
3,wood,material
4,pillow,part
5,headboard,part
255,,
"""


def folder_tree(root: Path) -> Path:
    """Two bedrooms and a kitchen; parts in masks of their own, materials in the main mask."""
    write(root / "labels.csv", LABELS)
    write(
        root / "scenes.csv",
        "image,scene,split\na.jpg,bedroom,train\nb,bedroom,test\nk/c.png,kitchen,test\n",
    )
    save(root / "images/a.jpg", picture(40, 30, 1))
    save(root / "images/b.jpg", picture(40, 30, 2))
    save(root / "images/k/c.png", picture(40, 30, 3))
    main = np.zeros((30, 40), np.uint8)
    main[:10], main[10:20], main[20:25], main[25:] = 1, 2, 3, 255
    save(root / "masks/a.png", main)
    save(root / "masks/b.png", main[::2, ::2])
    part, part2 = np.zeros((2, 30, 40), np.uint8)
    part[:5], part2[:3], part2[-1:] = 5, 4, 255
    save(root / "masks/a.part.png", part)
    save(root / "masks/a.part2.png", part2)
    return root


def folder_dataset(root: Path):
    return open_dataset(f"folder:{folder_tree(root)}")
