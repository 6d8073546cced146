"""Words that name concepts of a data set, and words that do not."""

from __future__ import annotations

import pandas as pd
import pytest

from core.dissect.formula import OR, Formula
from core.labelling.naming import Naming, name_words
from core.labelling.probe import Probe

CONCEPTS = [
    ("wall", "object"),
    ("shelves", "object"),
    ("night stand", "object"),
    ("refridgerator", "object"),
    ("box", "object"),
    ("dining table", "object"),
    ("table", "object"),
    ("chest of drawers, dresser", "object"),
    ("water", "object"),
    ("water", "material"),
    ("red-c", "color"),
    ("orange-c", "color"),
    ("orange", "object"),
    ("living_room", "scene"),
    ("street", "scene"),
    ("street", "object"),
    ("book", "object"),
    ("books", "object"),
]


@pytest.fixture(scope="module")
def probe() -> Probe:
    """A probe whose run is never opened: names are all that is asked of it."""
    made = Probe(None, "layer", (), ())
    frame = pd.DataFrame(CONCEPTS, columns=["name", "category"])
    frame.insert(0, "concept", range(1, len(frame) + 1))
    # What `cached_property` has worked out lies in the dict of the object.
    made.__dict__["concepts"] = frame.assign(whole=False, usable=True)
    return made


def ids(*names: str) -> tuple[int, ...]:
    return tuple(k for k, (name, _) in enumerate(CONCEPTS, 1) if name in names)


@pytest.mark.parametrize(
    ("text", "names", "kind"),
    [
        ("wall", ("wall",), "exact"),
        ("Walls", ("wall",), "normalised"),
        ("shelf", ("shelves",), "normalised"),
        ("nightstand", ("night stand",), "normalised"),
        ("refrigerator", ("refridgerator",), "fuzzy"),
        ("prayer rug, wall", ("wall",), "exact"),
        ("dresser", ("chest of drawers, dresser",), "exact"),
        ("chest_of_drawers", ("chest of drawers, dresser",), "normalised"),
        ("red", ("red-c",), "normalised"),
        ("red-c", ("red-c",), "exact"),
        ("orange", ("orange",), "exact"),
        ("orange-c", ("orange-c",), "exact"),
        ("living room", ("living_room",), "exact"),
        ("living_room-s", ("living_room",), "normalised"),
        ("book", ("book",), "exact"),
        ("books", ("books",), "exact"),
        ("wall (object)", (), "none"),
        ("", (), "none"),
        ("zebra", (), "none"),
        ("concept of the data set", (), "none"),
    ],
)
def test_words_are_found(probe, text, names, kind):
    found = Naming(probe).find(text)
    assert (found.concepts, found.kind) == (ids(*names), kind)


@pytest.mark.parametrize(
    ("text", "suggested"), [("kitchen table", "table"), ("boxing", "box"), ("shelving", "shelves")]
)
def test_a_guess_is_a_suggestion(probe, text, suggested):
    found = Naming(probe).find(text)
    assert found.concepts == () and found.kind == "none" and found.suggested == suggested
    assert found.terms == ()


def test_a_name_of_several_categories_means_any_of_them(probe):
    found = Naming(probe).find("water")
    assert found.concepts == (9, 10)
    assert found.terms == ((1.0, Formula((9, 10), (0, OR))),)
    assert Naming(probe).find("water (material)").concepts == (10,)
    # Broden's suffix tells the scene from the thing.
    assert Naming(probe).find("street-s").concepts == (15,)
    assert Naming(probe).find("street").concepts == (15, 16)


def test_only_concepts_of_the_chosen_categories_are_named(probe):
    some = Probe(None, "layer", (), ("object",))
    frame = probe.concepts
    some.__dict__["concepts"] = frame.assign(usable=frame["category"] == "object")
    assert Naming(some).find("water").concepts == (9,)
    assert Naming(some).find("living room").concepts == ()


def test_the_table_keeps_order_and_repeats(probe):
    frame = name_words(probe, ["zebra", "water", "zebra", "walls"])
    assert frame["word"].tolist() == ["zebra", "water", "zebra", "walls"]
    assert frame["kind"].tolist() == ["none", "exact", "none", "normalised"]
    assert frame["concepts"].tolist() == [None, "water (object) OR water (material)", None, "wall"]
    assert [terms is None for terms in frame["terms"]] == [True, False, True, False]


def test_no_words_make_an_empty_table(probe):
    assert not len(name_words(probe, []))
