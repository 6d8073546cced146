"""Files of features for small runs, as somebody else would make them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.ablation.images import images_of
from core.runs.run_file import Run

SIZE = 12
"""Values of a feature."""


def arrays(run: Run, seed: int = 0, words: list[str] | None = None) -> dict[str, np.ndarray]:
    """Features at random of a run's photos, in another order than the run's, and of its concepts
    (or of `words`)."""
    rng = np.random.default_rng(seed)
    ids = np.array(images_of(run)["id"], dtype=str)
    ids = ids[rng.permutation(len(ids))]
    names = words or run.sql("SELECT DISTINCT name FROM concepts ORDER BY name")["name"].tolist()
    return {
        "image_ids": ids,
        "image_features": np.abs(rng.normal(size=(len(ids), SIZE))).astype(np.float32),
        "words": np.array(names, dtype=str),
        "word_features": np.abs(rng.normal(size=(len(names), SIZE))).astype(np.float32),
    }


def write(path: Path, held: dict[str, np.ndarray]) -> str:
    """The SPEC of an .npz with these arrays."""
    np.savez(path, **held)
    return f"features:{path}"


def write_folder(path: Path, held: dict[str, np.ndarray]) -> str:
    """The SPEC of a folder with these arrays."""
    path.mkdir()
    for name, values in held.items():
        if values.dtype.kind == "U":
            (path / f"{name}.txt").write_text("\n".join(values) + "\n", encoding="utf-8")
        else:
            np.save(path / f"{name}.npy", values)
    return f"features:{path}"
