"""One search over everything that has a name: units, concepts, scenes, photos, tags, runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.foundation.names import plain_name, readable
from core.runs.notes import find_marks
from core.runs.run_file import Run
from core.runs.run_names import RunNames
from core.views.images import concepts
from core.views.names import shown_name
from core.views.runs import Summary, run_labels
from core.views.units import unit_table

LONGEST = 200
"""Letters of a text that are searched for."""


@dataclass(frozen=True)
class Hit:
    """One thing found: `label` names it, `about` says why it is here. page : the title of the page
    that shows it. address : that page's parameters."""

    label: str
    about: str
    page: str
    address: dict[str, str]


@dataclass(frozen=True)
class Group:
    """Things of one kind: the first of `total`, the best first."""

    kind: str
    total: int
    hits: list[Hit] = field(default_factory=list)


def search(
    run: Run, layer: str, text: str, denominator: str = "all", count: int = 5
) -> list[Group]:
    """What a run has of a text, in whatever case: groups of units (by number or label), concepts,
    scenes, photos (by id) and things that people tagged or noted; groups without a hit are left
    out, and where all are, so is everything.

    layer : "" where the run has none. A match at the beginning comes before one inside.
    """
    asked = plain_name(readable(text[:LONGEST]))
    raw = readable(text[:LONGEST]).strip().lower()
    if not raw:
        return []
    groups = [
        *([_units(run, layer, asked, denominator, count)] if layer else []),
        _concepts(run, asked, count),
        _scenes(run, asked, count),
        _photos(run, raw, count),
        _marked(run, layer, raw, count),
    ]
    return [group for group in groups if group.total]


def _rank(name: str, asked: str) -> int | None:
    """How well a plain name fits: 0 it is it, 1 it begins so, 2 a word of it does, 3 it holds it;
    None where it does not."""
    if not asked or asked not in name:
        return None
    if name == asked:
        return 0
    return 1 if name.startswith(asked) else 2 if f" {asked}" in name else 3


def _units(run: Run, layer: str, asked: str, denominator: str, count: int) -> Group:
    table = unit_table(run, layer, denominator)
    number = asked.removeprefix("unit ").removeprefix("u ").strip()
    found: list[tuple[tuple[float, ...], Hit]] = []
    for row in table.itertuples():
        name = shown_name(row.name) if isinstance(row.name, str) else ""
        rank = -1 if number and str(row.unit) == number else _rank(name, asked) if name else None
        if rank is None:
            continue
        about = f"{name}, IoU {row.iou:.3f}" if name else "no label"
        hit = Hit(f"unit {row.unit}", about, "Units", {"unit": str(row.unit), "layer": layer})
        found.append(((rank, -float(row.iou), int(row.unit)), hit))
    return _first(f"units of {layer}", found, count)


def _concepts(run: Run, asked: str, count: int) -> Group:
    found: list[tuple[tuple[float, ...], Hit]] = []
    frame = run.once(("search", "concepts"), lambda: concepts(run))
    for row in frame.itertuples():
        rank = _rank(plain_name(row.shown), asked)
        if rank is not None:
            about = f"{row.category}, in {row.images:,} images"
            hit = Hit(row.shown, about, "Units", {"concept": row.label})
            found.append(((rank, -int(row.images), int(row.concept)), hit))
    return _first("concepts", found, count)


def _scenes(run: Run, asked: str, count: int) -> Group:
    frame = run.sql(
        "SELECT name, count(*)::INTEGER AS images FROM images JOIN scenes USING (scene) "
        "GROUP BY name ORDER BY name"
    )
    found: list[tuple[tuple[float, ...], Hit]] = []
    for place, row in enumerate(frame.itertuples()):
        rank = _rank(plain_name(row.name), asked)
        if rank is not None:
            hit = Hit(plain_name(row.name), f"{row.images:,} images", "Scenes", {"scene": row.name})
            found.append(((rank, place), hit))
    return _first("scenes", found, count)


def _photos(run: Run, raw: str, count: int) -> Group:
    """By their ids, in the run file: there may be hundreds of thousands."""
    frame = run.sql(
        f"""
        SELECT i.id, i.split, s.name AS scene, count(*) OVER () AS total
        FROM images i LEFT JOIN scenes s USING (scene) WHERE contains(lower(i.id), ?)
        ORDER BY lower(i.id) <> ?, NOT starts_with(lower(i.id), ?), image LIMIT {int(count)}
        """,
        [raw, raw, raw],
    )
    hits = [
        Hit(
            str(row.id),
            f"{plain_name(row.scene) if isinstance(row.scene, str) else 'no scene'}, {row.split}",
            "Scenes",
            {"image": str(row.id)},
        )
        for row in frame.itertuples()
    ]
    return Group("photos", int(frame["total"].iloc[0]) if hits else 0, hits)


def _marked(run: Run, layer: str, raw: str, count: int) -> Group:
    found = find_marks(run, raw, layer)
    hits = []
    for thing, marks in list(found.items())[:count]:
        label = f"unit {thing.key}" if thing.layer else thing.key
        about = ", ".join(marks.tags) or marks.note
        page, address = "Scenes", {"image": thing.key}
        if thing.layer:
            page, address = "Units", {"unit": thing.key, "layer": thing.layer}
        hits.append(Hit(label, about if len(about) <= 60 else f"{about[:60]}…", page, address))
    return Group("tags and notes", len(found), hits)


def search_runs(
    found: Mapping[str, Summary], names: RunNames, text: str, count: int = 5
) -> Group | None:
    """Runs by their name, digest, data set, network or layers; None where there is none.

    found : digest → what each run is, newest first.
    """
    asked = plain_name(readable(text[:LONGEST]))
    if not asked:
        return None
    hits: list[tuple[tuple[float, ...], Hit]] = []
    for place, (digest, label) in enumerate(run_labels(found, names).items()):
        facts = found[digest]
        words = [label, facts.dataset, facts.model, *(layer.name for layer in facts.layers)]
        ranks = [rank for word in words if (rank := _rank(plain_name(word), asked)) is not None]
        if digest.startswith(asked):
            ranks.append(0)
        if ranks:
            about = f"{digest[:6]}, {facts.images:,} images"
            hits.append(((min(ranks), place), Hit(label, about, "Overview", {"run": digest})))
    group = _first("runs", hits, count)
    return group if group.total else None


def _first(kind: str, found: list[tuple[tuple[float, ...], Hit]], count: int) -> Group:
    found.sort(key=lambda one: one[0])
    return Group(kind, len(found), [hit for _, hit in found[:count]])
