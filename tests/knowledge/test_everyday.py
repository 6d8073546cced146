"""The built-in graph of everyday facts: its form, and whether it knows the drawn world."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from core.rooms.drawing import indoor, outdoor

FILE = Path(__file__).resolve().parents[2] / "data" / "everyday.tsv"

RELATIONS = {
    "AtLocation",
    "HasA",
    "IsA",
    "LocatedNear",
    "MadeOf",
    "PartOf",
    "RelatedTo",
    "Synonym",
    "UsedFor",
}

# Relations that say the same in either direction: a mirrored line would be a duplicate.
SYMMETRIC = {"LocatedNear", "RelatedTo", "Synonym"}

SCENES = (
    "bedroom",
    "living room",
    "kitchen",
    "bathroom",
    "dining room",
    "office",
    "library",
    "utility room",
    "street",
    "park",
    "beach",
    "forest",
    "mountain",
    "farm",
    "harbor",
)

# Drawn, but too technical for an everyday fact. Shrinks; grows only with a reason.
NOT_IN_GRAPH: set[str] = set()


@pytest.fixture(scope="module")
def triples() -> list[tuple[str, ...]]:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    body = [line for line in lines if not line.startswith("#")]
    # Comments only at the top: a reader may stop looking for them after the first fact.
    assert lines[len(lines) - len(body) :] == body
    return [tuple(line.split("\t")) for line in body]


@pytest.fixture(scope="module")
def entities(triples) -> set[str]:
    return {name for _, head, tail in triples for name in (head, tail)}


def test_lines_are_triples_of_known_relations(triples):
    assert len(triples) >= 1500
    for triple in triples:
        assert len(triple) == 3, triple
        assert triple[0] in RELATIONS, triple


def test_names_are_plain_lower_case(triples):
    for triple in triples:
        for name in triple[1:]:
            assert name == " ".join(name.lower().split()), triple
            assert name.replace(" ", "").isascii(), triple
            assert name.replace(" ", "").isalpha(), triple
        assert triple[1] != triple[2], triple


def test_no_fact_is_told_twice(triples):
    keys = Counter((r, *sorted((h, t))) if r in SYMMETRIC else (r, h, t) for r, h, t in triples)
    assert [key for key, n in keys.items() if n > 1] == []


def test_hierarchies_have_no_two_cycles(triples):
    known = set(triples)
    for relation in ("AtLocation", "PartOf", "HasA", "IsA", "MadeOf"):
        loops = [t for t in triples if t[0] == relation and (relation, t[2], t[1]) in known]
        assert loops == []


@pytest.mark.parametrize("scene", SCENES)
def test_scene_has_things_in_it(triples, scene):
    assert len({h for r, h, t in triples if r == "AtLocation" and t == scene}) >= 12


def test_graph_is_one_piece(triples, entities):
    near = defaultdict(set)
    for _, head, tail in triples:
        near[head].add(tail)
        near[tail].add(head)
    seen, todo = {"house"}, ["house"]
    while todo:
        fresh = near[todo.pop()] - seen
        seen |= fresh
        todo.extend(fresh)
    assert entities - seen == set()


@pytest.mark.parametrize("module", [outdoor, indoor], ids=["outdoor", "indoor"])
@pytest.mark.parametrize("table", ["OBJECTS", "PARTS", "MATERIALS"])
def test_graph_knows_what_is_drawn(entities, module, table):
    names = getattr(module, table)
    assert len(names) == len(set(names))
    assert sorted(set(names) - entities - NOT_IN_GRAPH) == []


@pytest.mark.parametrize("scene", outdoor.SCENES)
def test_outdoor_scenes_are_drawn_from_their_seed_with_known_names(scene):
    tables = {"object": outdoor.OBJECTS, "part": outdoor.PARTS, "material": outdoor.MATERIALS}
    for seed in range(12):
        world = outdoor.SCENES[scene](np.random.default_rng(seed))
        if seed == 0:
            picture = world.render(48)
            again = outdoor.SCENES[scene](np.random.default_rng(seed)).render(48)
            assert np.array_equal(picture.rgb, again.rgb)
            assert np.array_equal(picture.object, again.object)
            assert picture.rgb.std() > 10, "a photo with nothing in it"
            # Every pixel is some object, the sky included.
            assert (picture.object > 0).all()
            names = picture.names
        else:
            names = world._names
        for plane, known in tables.items():
            assert set(names[plane]) - {""} <= set(known), (scene, seed, plane)
