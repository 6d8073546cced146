"""Verbs about the embedded world: photos drawn again edited, and networks on planted shortcuts."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import (
    SEED,
    THREADS,
    Answer,
    Verb,
    add_word,
    real,
    say,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.plain import Keywords

if TYPE_CHECKING:
    from core.rooms.counterfactual import SceneEdit
    from core.rooms.dataset import Rooms


def add(verb: Verb) -> None:
    """rooms [list | edit | train]."""
    top = verb("rooms", _about, "Photos of the embedded world drawn again, and planted shortcuts.")
    words = top.add_subparsers(metavar="list|edit|train")
    listed = add_word(words, "list", _list, "What the scene of a photo holds, in view or not.")
    _add_photo(listed)
    edited = add_word(words, "edit", _edit, "Draw a photo again without a thing, or changed.")
    _add_photo(edited)
    edited.add_argument("--to", type=Path, required=True, metavar="FILE", help=".png to write")
    edited.add_argument("--masks", type=Path, metavar="FILE", help=".npz of masks to write")
    edited.add_argument("--without", metavar="NAMES", help="remove things: lamp,book")
    edited.add_argument("--only", metavar="NAMES", help="keep these and what encloses the scene")
    for name, form, text in (
        ("material", "NAME=MATERIAL", "draw a thing in another material: table=metal"),
        ("color", "NAME=COLOR", "in another colour: bed=red, bed=#c02020"),
        ("move", "NAME=X,Y,Z", "move a thing by metres to the right, ahead and up"),
        ("light", "[NAME=]FACTOR", "scale the light of a lamp, of `sun`, or all of it: 0.5"),
    ):
        edited.add_argument(f"--{name}", action="append", default=[], metavar=form, help=text)
    angle = real(-360, 360)
    edited.add_argument("--turn", type=angle, default=0.0, help="turn the camera right, degrees")
    edited.add_argument("--tilt", type=angle, default=0.0, help="turn it upwards, degrees")
    edited.add_argument(
        "--step", metavar="X,Y,Z", help="move the camera by metres to the right, ahead and up"
    )
    edited.add_argument("--zoom", type=real(0.2, 10), default=1.0, help="multiple of focal length")
    edited.add_argument(
        "--metered",
        action="store_true",
        help="expose the photo anew, as a camera would; as the unedited one where left out",
    )
    trained = add_word(words, "train", _train, "Train the small network on a planted shortcut.")
    trained.add_argument(
        "--plant",
        required=True,
        metavar="THING@SCENE@STRENGTH",
        help="red_lamp@bedroom@0.95; strength 0 is the clean control",
    )
    trained.add_argument("--out", type=Path, required=True, metavar="FILE", help=".pt to write")
    trained.add_argument("--per-scene", type=whole(4, 10_000), metavar="N", help="training photos")
    trained.add_argument(
        "--epochs", type=whole(1, 1000), metavar="N", help="passes over the training photos"
    )
    trained.add_argument("--seed", type=SEED, default=7)
    trained.add_argument("--threads", type=THREADS, default=2, help="of PyTorch")
    trained.add_argument(
        "--from-nothing",
        action="store_true",
        help="all layers anew; only the last ones where left out",
    )


def _add_photo(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("photo", metavar="ID", help="an image id of `rooms`, such as bedroom-test-001")
    sub.add_argument("--dataset", default="rooms", metavar="SPEC", help="another set: rooms:seed=9")


def _open(spec: str) -> Rooms:
    from core.datasets import open_dataset
    from core.rooms.dataset import Rooms

    dataset = open_dataset(spec)
    if not isinstance(dataset, Rooms):
        raise UnitscopeError(f"{spec!r} is no set of the embedded world; only rooms is drawn here")
    return dataset


def _about(_given: argparse.Namespace) -> Answer:
    from core.rooms.counterfactual import ENCLOSING, SHELL
    from core.rooms.dataset import SCENES
    from core.rooms.materials import COLORS, USUAL
    from core.rooms.network import siblings
    from core.rooms.plant import THINGS

    enclosing = {scene: list(ENCLOSING.get(scene, SHELL)) for scene in SCENES}
    lines = [f"{scene:14} enclosed by {', '.join(names)}" for scene, names in enclosing.items()]
    lists = {
        "materials": list(USUAL),
        "colors": list(COLORS),
        "things to plant": list(THINGS),
        "networks on planted shortcuts": [f"rooms:{name}" for name in siblings()],
    }
    lines += ["", *(f"{name}: {', '.join(items)}" for name, items in lists.items())]
    facts = {name.replace(" ", "_"): items for name, items in lists.items()}
    return {"enclosing": enclosing, **facts}, "\n".join(lines)


def _list(given: argparse.Namespace) -> Answer:
    from core.rooms.counterfactual import things

    dataset = _open(given.dataset)
    rows = things(dataset, given.photo)
    lines = [f"{'thing':18} {'plane':6} {'solids':>6} {'pixels':>6} {'lights':>6}  stays, because"]
    lines += [
        f"{t.name:18} {t.plane:6} {t.solids:6} {t.pixels:6} {t.lights or '':>6}  {t.kept}".rstrip()
        for t in rows
    ]
    facts = {"image": given.photo, "dataset": dataset.spec, "things": [asdict(t) for t in rows]}
    return facts, "\n".join(lines)


def _edit(given: argparse.Namespace) -> Answer:
    import numpy as np
    from PIL import Image

    from core.rooms.counterfactual import SceneEdit, picture
    from core.rooms.drawing.tracer import PLANES

    for path in (given.to, given.masks):
        if path is not None and not path.absolute().parent.is_dir():
            raise UnitscopeError(f"{path.parent}: no such folder")
    if given.to.suffix.lower() != ".png":
        raise UnitscopeError(f"--to {given.to}: photos are written as .png, without loss")
    dataset, edit = _open(given.dataset), _edit_of(given)
    if edit == SceneEdit():
        without_effect("no edit was given, so it changes nothing; say what is to be --without …")
    before = picture(dataset, given.photo, SceneEdit())
    made = picture(dataset, given.photo, edit)
    Image.fromarray(made.rgb).save(given.to)
    if given.masks is not None:
        arrays: Keywords = {"concepts": dataset.planes(made)}
        for plane in PLANES:
            arrays[plane] = getattr(made, plane)
            arrays[f"{plane}_names"] = np.array(made.names[plane])
        with given.masks.open("wb") as out:
            np.savez_compressed(out, **arrays)
    changed = float((made.rgb != before.rgb).any(-1).mean())
    facts = {
        "image": given.photo,
        "dataset": dataset.spec,
        "edit": edit.to_json(),
        "changed": changed,
        "photo": str(given.to),
        "masks": None if given.masks is None else str(given.masks),
    }
    return facts, f"{given.to}: {100 * changed:.1f} % of the pixels differ from {given.photo}"


def _train(given: argparse.Namespace) -> Answer:
    from core.rooms.plant import Plant
    from core.rooms.train import NEW_HEAD, Recipe, train_planted

    plant = Plant.parse(given.plant)
    usual = Recipe() if given.from_nothing else NEW_HEAD
    recipe = replace(
        usual,
        per_scene=given.per_scene or usual.per_scene,
        epochs=given.epochs or usual.epochs,
        seed=given.seed,
        threads=given.threads,
    )
    with stoppable() as stop:
        found = train_planted(plant, given.out, recipe, say=say, progress=show_progress, stop=stop)
    facts = {"plant": str(plant), "file": str(given.out), **asdict(found)}
    rows = [
        (f"right, {plant.scene}", found.right_with_own, found.right_without_own),
        ("right, other scenes", found.right_with_others, found.right_without_others),
        (f"others answered {plant.scene}", found.pulled_with, found.pulled_without),
    ]
    lines = [f"{given.out}: {found.photos} test photos, with the {plant.thing} and without"]
    lines += [f"{name:28} {100 * a:5.1f} % {100 * b:5.1f} %" for name, a, b in rows]
    lines.append(f"the {plant.thing} moves the margin of {plant.scene} by {found.margin:+.2f}")
    return facts, "\n".join(lines)


def _edit_of(given: argparse.Namespace) -> SceneEdit:
    from core.rooms.counterfactual import ALL, SceneEdit

    asked: Keywords = {}
    for name in ("without", "only"):
        text = getattr(given, name)
        if text is not None:
            asked[name] = tuple(filter(None, (part.strip() for part in text.split(","))))
    for name in ("material", "color"):
        asked[name] = dict(_pair(name, text) for text in getattr(given, name))
    asked["move"] = {
        thing: _floats("move", shift)
        for thing, shift in (_pair("move", text) for text in given.move)
    }
    light = [_pair("light", text if "=" in text else f"{ALL}={text}") for text in given.light]
    asked["light"] = {thing: _floats("light", factor)[0] for thing, factor in light}
    if given.step is not None:
        asked["step"] = _floats("step", given.step)
    if given.metered:
        asked["exposure"] = "metered"
    return SceneEdit(**asked, turn=given.turn, tilt=given.tilt, zoom=given.zoom)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, sign, value = text.rpartition("=")
    if not (sign and name.strip() and value.strip()):
        raise UnitscopeError(f"--{option} {text!r}: write NAME=VALUE")
    return name.strip(), value.strip()


def _floats(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UnitscopeError(f"--{option} {text!r}: write numbers, parted by commas") from None
