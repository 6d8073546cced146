"""The verb `rooms`: lists and edits are those of the library, errors one line."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from core.cli import main
from core.rooms.counterfactual import SceneEdit, picture, things
from core.rooms.dataset import Rooms


def said(capsys, *arguments: str, status: int = 0):
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_a_photo_is_listed_and_edited(capsys, tmp_path):
    image = "bedroom-test-001"
    listed = said(capsys, "rooms", "list", image)["things"]
    assert [t["name"] for t in listed] == [t.name for t in things(Rooms(), image)]
    to, masks = tmp_path / "out.png", tmp_path / "masks.npz"
    edit = SceneEdit(without=("lamp",), color={"bed": "#ff0000"}, move={"rug": (0.2, 0, 0)})
    facts = said(
        capsys,
        "rooms",
        "edit",
        image,
        "--without",
        "lamp",
        "--color",
        "bed=#ff0000",
        "--move",
        "rug=0.2,0,0",
        "--to",
        str(to),
        "--masks",
        str(masks),
    )
    made = picture(Rooms(), image, edit)
    assert (np.asarray(Image.open(to)) == made.rgb).all() and facts["changed"] > 0.1
    with np.load(masks) as arrays:
        assert (arrays["concepts"] == Rooms().planes(made)).all()
        assert (arrays["object"] == made.object).all()
        assert arrays["object_names"].tolist() == made.names["object"]
    assert "wood" in said(capsys, "rooms")["materials"]


def test_mistakes_are_said(capsys, tmp_path):
    image, to = "bedroom-test-001", str(tmp_path / "out.png")
    for words, part in (
        (("edit", image, "--to", to), "changes nothing"),
        (("edit", image, "--to", str(tmp_path / "out.jpg"), "--turn", "3"), ".png"),
        (
            ("edit", image, "--to", str(tmp_path / "no" / "out.png"), "--turn", "3"),
            "no such folder",
        ),
        (("edit", image, "--to", to, "--color", "bed"), "NAME=VALUE"),
        (("edit", image, "--to", to, "--move", "bed=a,b,c"), "numbers"),
        (("edit", image, "--to", to, "--without", "wall"), "What can: armchair, bed"),
        (("list", "bedroom-test-999"), "unknown image"),
        (("list", image, "--dataset", "rooms:sed=3"), "unknown option"),
    ):
        assert part in said(capsys, "rooms", *words, status=2)["error"], words
