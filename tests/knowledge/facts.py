"""Facts that the tests of knowledge share."""

from __future__ import annotations

FACTS = [
    ("AtLocation", "bed", "bedroom", 2.0),
    ("HasA", "bedroom", "bed", 1.0),
    ("IsA", "bedroom", "room", 1.0),
    ("AtLocation", "pillow", "bed", 3.0),
    ("AtLocation", "pillow", "sofa", 0.5),
    ("RelatedTo", "sofa", "room", 1.0),
    ("HasA", "room", "wall", 1.0),
    ("AtLocation", "lamp", "bedroom", 0.1),
]


FEW = (
    ("AtLocation", "bed", "bedroom"),
    ("AtLocation", "pillow", "bed"),
    ("HasA", "bed", "leg"),
    ("UsedFor", "night stand", "lamp"),
    ("PartOf", "wall", "bedroom"),
)


def facts_file(folder, rows, name="facts.tsv"):
    path = folder / name
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path
