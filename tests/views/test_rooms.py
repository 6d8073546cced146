"""Edited photos as pages ask for them: by run and number of the image."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.foundation.errors import UnitscopeError
from core.rooms.counterfactual import SceneEdit, picture, rooms_of
from core.rooms.dataset import Rooms
from core.runs.facts import RunSettings
from core.views import rooms


class RoomsRun:
    """A run of rooms:seed=9 as far as the view asks it."""

    digest = "abc"

    def __init__(self):
        source = {"spec": "rooms:seed=9", "digest": ""}
        self.info = {"settings": {"dataset": source}, "dataset_name": "rooms"}
        self.settings = RunSettings(self.info["settings"])

    def once(self, key, make):
        return make()

    def sql(self, query, parameters):
        ids = ["office-test-000", "farm-test-001"]
        return pd.DataFrame({"id": ids[parameters[0] : parameters[0] + 1]})


def test_an_edited_photo_is_found_by_its_number_in_the_run():
    run, edit = RoomsRun(), SceneEdit(without=("cow",))
    assert rooms.can_edit(run) and rooms_of(run).seed == 9
    photo = Image.open(io.BytesIO(rooms.edited_photo(run, 1, edit.to_json())))
    assert (np.asarray(photo) == picture(Rooms(9), "farm-test-001", edit).rgb).all()
    frame = rooms.things(run, 1)
    assert "barn" in set(frame["name"]) and frame.loc[frame["name"] == "sky", "kept"].all()
    with pytest.raises(UnitscopeError, match="no image number 2"):
        rooms.things(run, 2)


def test_runs_of_other_photos_say_so(tiny_run):
    assert not rooms.can_edit(tiny_run) and rooms_of(tiny_run) is None
    with pytest.raises(UnitscopeError, match="only those of rooms can be drawn again"):
        rooms.edited_photo(tiny_run, 0, "{}")
    assert list(tiny_run.sql("SELECT id FROM images WHERE image = ?", [0])["id"])
