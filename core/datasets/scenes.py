"""Matching of a dataset's scene names to a network's class names, by a readable table.

The accuracy of a run is measured on the photos whose scene is one of the network's classes. Each
scene is listed with the kind of match:

``exact``        the names are identical
``normalised``   alike but for case, separators and Places365's leading ``/a/``
                 (:func:`core.foundation.names.plain_name`)
``table``        the same words in another order (hockey arena, ``arena/hockey``), indoor for
                 interior and outdoor for exterior, or a pair of :data:`SAME`
``given``        by a file of the user's
``none``         no class; :func:`propose` lists the nearest, which are never used automatically

No entry of :data:`SAME` is a scene of ADE20K: on it the matched scenes are those of the paper,
361 scenes of 15,070 photos.
"""

from __future__ import annotations

import csv
import difflib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.datasets.base import Problem
from core.datasets.files import read_table
from core.foundation.errors import BadFile, nearest, unknown
from core.foundation.names import plain_name

KINDS = ("exact", "normalised", "table", "given", "none")

SAME = {
    "airplane cabin": ("aircraft cabin", "plane cabin"),
    "archaelogical excavation": ("archaeological excavation",),
    "bathroom": ("bath room",),
    "bedroom": ("bed room",),
    "bookstore": ("book store", "bookshop", "book shop"),
    "butchers shop": ("butcher shop", "butcher's shop"),
    "candy store": ("candy shop", "sweet shop"),
    "carrousel": ("carousel", "merry go round"),
    "childs room": ("child's room", "childrens room", "children's room", "kids room"),
    "clothing store": ("clothes store", "clothes shop"),
    "coffee shop": ("cafe", "café", "coffee house", "coffeehouse"),
    "computer room": ("computer lab",),
    "crosswalk": ("pedestrian crossing", "zebra crossing"),
    "fastfood restaurant": ("fast food restaurant",),
    "fire station": ("firehouse",),
    "florist shop indoor": ("flower shop",),
    "gas station": ("petrol station", "filling station"),
    "gymnasium indoor": ("gym", "gymnasium"),
    "hotel room": ("hotel bedroom",),
    "kindergarden classroom": ("kindergarten classroom",),
    "living room": ("livingroom", "sitting room"),
    "oilrig": ("oil rig",),
    "parking lot": ("car park",),
    "pet shop": ("pet store",),
    "shoe shop": ("shoe store",),
    "toyshop": ("toy shop", "toy store"),
}
"""Plain name of Places365 → other names of the same place."""

MANY = 6
"""Classes in which a word may occur and still tell something."""

_SAME_AS = {other: name for name, others in SAME.items() for other in others}
_PLACE = {"interior": "indoor", "exterior": "outdoor"}


class Match(NamedTuple):
    """The match of one scene: position of the class (−1 = none) and the kind."""

    scene: str
    where: int
    kind: str


def match_scenes(
    scenes: Sequence[str], classes: Sequence[str], given: Mapping[str, str] | None = None
) -> list[Match]:
    """One :class:`Match` a scene.

    Parameters
    ----------
    given : scene → class ("" = none) where the user decided; see :func:`read_given`.

    Raises :class:`core.foundation.errors.UnitscopeError` for a given class that the network does
    not have.

    >>> [m.kind for m in match_scenes(["pub", "Arena-hockey", "hockey arena", "moon"],
    ...                               ["pub", "/a/arena/hockey"])]
    ['exact', 'normalised', 'table', 'none']
    """
    written = {name: k for k, name in reversed(list(enumerate(classes)))}
    plain: dict[str, int] = {}
    keys: defaultdict[str, set[int]] = defaultdict(set)
    for k, name in enumerate(classes):
        plain.setdefault(plain_name(name), k)
        keys[_key(name)].add(k)

    def of_class(name: str) -> int:
        where = written.get(name, plain.get(plain_name(name), -1))
        if where < 0:
            raise unknown("class", name, classes)
        return where

    matches = []
    for scene in scenes:
        kind, where = "none", -1
        if given is not None and scene in given:
            where = of_class(given[scene]) if given[scene] else -1
            kind = "given"
        elif scene in written:
            kind, where = "exact", written[scene]
        elif plain_name(scene) in plain:
            kind, where = "normalised", plain[plain_name(scene)]
        elif len(found := keys.get(_key(scene), set())) == 1:
            # Where two classes have the words, neither is taken.
            kind, where = "table", next(iter(found))
        matches.append(Match(scene, where, kind))
    return matches


def _key(name: str) -> str:
    """Key shared by the names of one place: the words of its usual name, sorted."""
    words = [_PLACE.get(word, word) for word in plain_name(name).split()]
    words = _SAME_AS.get(" ".join(words), " ".join(words)).split()
    return " ".join(sorted(words))


def class_of(matches: Sequence[Match]) -> np.ndarray:
    """int32 (scenes,): position of each scene's class, −1 where there is none."""
    return np.array([match.where for match in matches], np.int32)


def propose(scene: str, classes: Sequence[str], count: int = 3) -> list[str]:
    """Candidate classes for an unmatched scene: those that share a distinctive word with it, then
    those with a similar spelling. For people to choose from.

    >>> propose("dinette-home", ["bedroom", "/d/dinette/vehicle", "/h/home_office"])
    ['/d/dinette/vehicle', '/h/home_office']
    """
    words = set(_key(scene).split()) - {"indoor", "outdoor"}
    own = {name: set(_key(name).split()) for name in classes}
    common = Counter(word for there in own.values() for word in there)
    # A word that many classes have (room, shop) tells nothing.
    telling = {word for word in words if common[word] <= MANY}
    near = sorted(
        (name for name in classes if own[name] & telling),
        key=lambda name: -len(own[name] & words),
    )
    plain = {plain_name(name): name for name in classes}
    alike = difflib.get_close_matches(plain_name(scene), list(plain), n=count, cutoff=0.8)
    near = [plain[name] for name in alike] + near
    return list(dict.fromkeys(near))[:count]


def read_given(path: Path, scenes: Sequence[str], problems: list[Problem]) -> dict[str, str]:
    """Scene → class, "" for none, of a table with the columns scene and class.

    What :func:`write_matches` writes, with classes filled in, is such a table. Scenes may differ
    from the dataset's spelling in case and separators. Rows of other datasets' scenes are listed in
    `problems`, and so are repeated ones.

    Raises BadFile where the table is unusable, or none of its rows is about these scenes.
    """
    plain = {plain_name(name): name for name in reversed(scenes)}
    known = set(scenes)
    given: dict[str, str] = {}
    before = len(problems)
    for line, row in read_table(path, ("scene", "class"), problems).rows:
        scene = row["scene"] if row["scene"] in known else plain.get(plain_name(row["scene"]), "")
        if not scene:
            near = nearest(row["scene"], scenes, 3)
            hint = f"; nearest: {', '.join(near)}" if near else ""
            result = f"line {line}: {row['scene']!r} is no scene of the dataset{hint}"
            problems.append(Problem("", str(path), result))
        elif scene in given:
            result = f"line {line}: {scene!r} is listed before"
            problems.append(Problem("", str(path), result))
        else:
            given[scene] = row["class"]
    if not given:
        first = f"; {problems[before].reason}" if len(problems) > before else ""
        raise BadFile(path, f"has no row about a scene of the dataset{first}")
    return given


def write_matches(
    path: Path, matches: Sequence[Match], images: Mapping[str, int], classes: Sequence[str]
) -> None:
    """The table that :func:`read_given` reads: scene, class, kind, images, nearest.

    Scenes without a class come first, those with most images at the top.
    """
    order = sorted(matches, key=lambda m: (m.where >= 0, -images.get(m.scene, 0), m.scene))
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["scene", "class", "kind", "images", "nearest"])
        for match in order:
            near = "" if match.where >= 0 else "; ".join(propose(match.scene, classes))
            name = classes[match.where] if match.where >= 0 else ""
            rows.writerow([match.scene, name, match.kind, images.get(match.scene, 0), near])


def images_of(scene: Sequence[int] | np.ndarray, scenes: Sequence[str]) -> dict[str, int]:
    """Photos of each scene."""
    count = Counter(np.asarray(scene).tolist())
    return {name: count.get(k, 0) for k, name in enumerate(scenes)}


def summary(matches: Sequence[Match], images: Mapping[str, int]) -> dict[str, int | dict[str, int]]:
    """How many scenes, and photos of them, have a class.

    Keys: matched, unmatched (scenes), images_matched, images_unmatched, kinds (scenes of each).
    Photos without a scene are in neither.
    """
    kinds = Counter(match.kind for match in matches)
    yes = [match.scene for match in matches if match.where >= 0]
    no = [match.scene for match in matches if match.where < 0]
    return {
        "matched": len(yes),
        "unmatched": len(no),
        "images_matched": sum(images.get(scene, 0) for scene in yes),
        "images_unmatched": sum(images.get(scene, 0) for scene in no),
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
    }
