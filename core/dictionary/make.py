"""A dictionary of a run's layer: trained on one split, measured on another, kept beside the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Unpack

import numpy as np

from core.ablation.images import choose, images_of
from core.dictionary.cells import Cells
from core.dictionary.measure import NoScenes, kept_of, opened, through
from core.dictionary.train import Recipe, fit
from core.foundation.errors import UnitscopeError
from core.foundation.files import ProcessLock
from core.foundation.plain import Json
from core.foundation.progress import Hooks
from core.foundation.versions import versions_of
from core.labelling.probe import held_out
from core.models.dictionary import Dictionary, Origin, read_dictionary, write_dictionary
from core.models.threads import torch_threads
from core.runs.run_file import Run, derived


def make_dictionary(
    run: Run,
    layer: str | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008
    learn: Sequence[str] | None = None,
    judge: Sequence[str] | None = None,
    **hooks: Unpack[Hooks],
) -> Dictionary:
    """Train a dictionary on the cells of a layer (the run's last), or read it where it is kept.

    learn, judge : splits that it is trained on, and measured on; the run's training split, and the
    first of test and validation, where None. A training that was stopped goes on.

    Raises UnitscopeError where the run kept no maps, for unknown layers and splits, and where
    another process trains the same.
    """
    name = run.layer_names[run.layer(layer)]
    if not run.settings.keep_maps:
        raise UnitscopeError(
            f"run {run.digest} kept no maps (--no-maps), and a dictionary is trained on those of "
            f"{name}: make the run again without that option"
        )
    learned, judged = held_out(run, learn, judge, "features")
    facts = {
        "layer": name,
        "recipe": asdict(recipe),
        "splits": [learned, judged],
        "versions": versions_of("dictionary"),
        "torch": version("torch"),
    }
    final = derived(run, "dictionary", facts, "pt")
    if final.is_file():
        try:
            return read_dictionary(final)
        except UnitscopeError:  # damaged: made again
            final.unlink()
    state = final.with_suffix(".partial")
    lock = ProcessLock(
        final.with_suffix(".lock"), f"this dictionary of {name} is being trained already"
    )
    try:
        made = _make(run, name, recipe, learned, judged, state, **hooks)
        write_dictionary(made, final)
        state.unlink(missing_ok=True)
        return made
    finally:
        lock.release()


def _make(
    run: Run,
    layer: str,
    recipe: Recipe,
    learned: Sequence[str],
    judged: Sequence[str],
    state: Path,
    **hooks: Unpack[Hooks],
) -> Dictionary:
    """Train and measure. state : the file that a training is resumed from."""
    images, maps = images_of(run), run.array(f"maps-{layer}")
    numbers = images["image"].to_numpy(np.int64)
    rows = choose(images, splits=judged)
    cells = Cells(maps, numbers[choose(images, splits=learned)])
    subject = opened(run, layer)
    with torch_threads(1):
        training = fit(cells, recipe, state, **hooks)
        seen = kept_of(training.dictionary(), cells)
        held = kept_of(training.dictionary(), Cells(maps, numbers[rows]))
        answers: Json = {"accuracy_why": subject}
        if not isinstance(subject, str):
            try:
                found = through(subject, training.dictionary(), rows, **hooks)
                answers = {"accuracy": found.to_json()}
            except NoScenes as err:
                answers = {"accuracy_why": str(err)}
    origin = Origin(
        run.settings.model.digest,
        layer,
        run.settings.model.spec,
        run.digest,
        run.dataset,
        {**asdict(recipe), "splits": list(learned), **seen.to_json()},
        {"splits": list(judged), **held.to_json(), **answers},
    )
    return training.dictionary(seen.activity, origin)
