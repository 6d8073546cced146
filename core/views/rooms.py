"""Photos of the embedded world, drawn again after an edit, as pages ask for them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pandas as pd

from core.foundation.errors import UnitscopeError
from core.runs.run_file import Run

if TYPE_CHECKING:  # the tracer's imports take a second: only what draws waits for them
    from core.rooms.dataset import Rooms


def can_edit(run: Run) -> bool:
    """Whether a run's photos can be drawn again: its dataset is `rooms`."""
    return run.settings.dataset.spec.partition(":")[0] == "rooms"


def things(run: Run, image: int) -> pd.DataFrame:
    """What the scene of a run's image holds, in view or not: name, plane (object, part), solids,
    pixels (of the 192 × 192 drawn), lights, parts, kept (why it cannot be taken away, else "").

    image : number in the run. Raises UnitscopeError where the run's photos cannot be drawn again.
    """
    from core.rooms.counterfactual import Thing
    from core.rooms.counterfactual import things as things_of

    rows = [asdict(thing) for thing in things_of(*_photo(run, image))]
    return pd.DataFrame(rows, columns=list(Thing.__dataclass_fields__))


def lights(run: Run, image: int) -> list[str]:
    """Names that an edit's `light` takes for a run's image: ``all``, ``sun`` where it shines, and
    the objects and parts that have lights, as ``object:lamp``. Raises as :func:`things`."""
    from core.rooms.counterfactual import ALL, scene_of

    frame = things(run, image)
    shining = frame[frame["lights"] > 0]
    sun = ["sun"] if scene_of(*_photo(run, image)).world.sun is not None else []
    return [ALL, *sun, *(f"{row.plane}:{row.name}" for row in shining.itertuples(index=False))]


def materials() -> list[str]:
    """Materials that an edit can draw a thing in, in alphabetical order."""
    from core.rooms.materials import USUAL

    return sorted(USUAL)


def edited_photo(run: Run, image: int, edit: str) -> bytes:
    """PNG bytes of a run's image, drawn again after an edit: the whole photo, 192 × 192.

    image : number in the run. edit : as :meth:`core.rooms.counterfactual.SceneEdit.to_json`
        writes it; ``{}`` changes nothing.

    The scene and the last edits are kept: the first call takes about as long as drawing two
    photos, others as one, the same again none. Raises UnitscopeError as
    :func:`core.rooms.counterfactual.picture` does.
    """
    from core.rooms.counterfactual import SceneEdit, photo_bytes

    dataset, image_id = _photo(run, image)
    return photo_bytes(dataset, image_id, SceneEdit.from_json(edit))


def _photo(run: Run, image: int) -> tuple[Rooms, str]:
    from core.rooms.counterfactual import rooms_of

    dataset = rooms_of(run)
    if dataset is None:
        raise UnitscopeError(
            f"run {run.digest} is of {run.info['dataset_name']}, whose photos are given; only "
            "those of rooms can be drawn again"
        )
    found = run.sql("SELECT id FROM images WHERE image = ?", [int(image)])
    if not len(found):
        raise UnitscopeError(f"run {run.digest} has no image number {image}")
    return dataset, str(found["id"][0])
