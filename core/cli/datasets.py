"""Verbs about datasets: the kinds, and what one holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.cli.common import (
    THREADS,
    Answer,
    Verb,
    add_word,
    say_kinds,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json

if TYPE_CHECKING:
    from core.datasets.check import DatasetReport, ProblemKind


def add(verb: Verb) -> None:
    """datasets [check | scenes | folder-from | listing]."""
    top = verb("datasets", _kinds, "The kinds of dataset and how to name them; `check` reads one.")
    kinds = top.add_subparsers(metavar="check|scenes|folder-from|listing")

    check = add_word(kinds, "check", _check, "Read a dataset, say what it holds and what is wrong.")
    check.add_argument("dataset", metavar="SPEC", help="see `datasets`")
    check.add_argument(
        "--limit",
        type=whole(),
        metavar="N",
        help="photos to read, spread evenly; all where left out",
    )
    check.add_argument(
        "--threads", type=THREADS, help="for reading; the machine's cores where left out"
    )
    check.add_argument(
        "--knowledge",
        default="builtin",
        metavar="SPEC",
        help="the graph in which scenes are looked up; see `knowledge`",
    )

    scenes = add_word(
        kinds, "scenes", _scenes, "Which class of a network each scene of a dataset is."
    )
    scenes.add_argument("--dataset", required=True, metavar="SPEC", help="see `datasets`")
    scenes.add_argument("--model", required=True, metavar="SPEC", help="see `models`")
    scenes.add_argument("--scenes", type=Path, metavar="FILE", help="with this table of yours")
    scenes.add_argument(
        "--write", type=Path, metavar="FILE", help="write the table, to fill in for `run --scenes`"
    )
    listing = add_word(
        kinds, "listing", _listing, "List a folder's files for a web server to offer as a dataset."
    )
    listing.add_argument("folder", type=Path, metavar="DIR", help="files.csv is written in it")

    made = add_word(
        kinds, "folder-from", _folder_from, "Make a `folder:` dataset from another program's files."
    )
    made.add_argument(
        "format",
        choices=["labelme", "coco"],
        help="labelme: one JSON for each photo; coco: instances JSON, from whatever program",
    )
    made.add_argument("source", type=Path, metavar="DIR", help="folder of its files and photos")
    made.add_argument(
        "--to", type=Path, required=True, metavar="OUT", help="folder to make; must not be there"
    )


def _kinds(_given: argparse.Namespace) -> Answer:
    from core.datasets.registry import DATASETS

    return say_kinds([(kind.name, kind.form, kind.about) for kind in DATASETS])


def _scenes(given: argparse.Namespace) -> Answer:
    for path in (given.scenes, given.write):
        if path is not None and path is given.scenes and not path.is_file():
            raise UnitscopeError(f"--scenes {path}: there is no such file")
        if path is not None and not path.absolute().parent.is_dir():
            raise UnitscopeError(f"{path.parent}: no such folder")
    from core.datasets import open_dataset, scenes
    from core.models.load import load_model

    data = open_dataset(given.dataset)
    classes = load_model(given.model).classes
    if not classes:
        raise UnitscopeError(f"model {given.model!r} names no classes, so no scene can be one")
    problems: list[Any] = []
    own = scenes.read_given(given.scenes, data.scenes, problems) if given.scenes else None
    matches = scenes.match_scenes(data.scenes, classes, own)
    images = scenes.images_of(data.scene, data.scenes)
    result = scenes.summary(matches, images)
    rows: list[Json] = [
        {
            "scene": m.scene,
            "class": classes[m.where] if m.where >= 0 else None,
            "kind": m.kind,
            "images": images[m.scene],
            "nearest": [] if m.where >= 0 else scenes.propose(m.scene, classes),
        }
        for m in sorted(matches, key=lambda m: (m.where >= 0, -images[m.scene], m.scene))
    ]
    if given.write:
        scenes.write_matches(given.write, matches, images, classes)
    facts = {
        "dataset": given.dataset,
        "model": given.model,
        **result,
        "no_scene": len(data) - sum(images.values()),
        "scenes": rows,
        "notes": [f"{p.path}: {p.reason}" for p in problems],
    }
    width = max([len(row["scene"]) for row in rows] or [0])
    kinds = ", ".join(f"{kind} {count}" for kind, count in facts["kinds"].items())
    lines = [
        f"{facts['matched']:,} of {len(rows):,} scenes are classes of the network ({kinds}): "
        f"{facts['images_matched']:,} of {sum(images.values()):,} images",
        *(f"note: {note}" for note in facts["notes"]),
    ]
    for row in rows:
        said = row["class"] or ("nearest: " + ", ".join(row["nearest"]) if row["nearest"] else "")
        lines.append(f"{row['scene']:{width}}  {row['images']:6,}  {row['kind']:10}  {said}")
    if given.write:
        lines.append(f"written: {given.write}; fill in the column class, then run --scenes FILE")
    return facts, "\n".join(lines)


def _listing(given: argparse.Namespace) -> Answer:
    from core.foundation.stores import LISTING, write_listing

    if not given.folder.is_dir():
        raise UnitscopeError(f"{given.folder}: no such folder")
    count = write_listing(given.folder)
    path = given.folder / LISTING
    return {"path": str(path), "files": count}, f"{path}: {count:,} files"


def _check(given: argparse.Namespace) -> Answer:
    from core.datasets import open_dataset
    from core.datasets.check import check

    if given.limit is not None and given.limit < 1:
        raise UnitscopeError(f"--limit {given.limit}: at least one photo must be read")
    dataset = open_dataset(given.dataset)
    known = _known_scenes(dataset.scenes, given.knowledge)
    with stoppable() as stop:
        report = check(dataset, given.limit, show_progress, stop, given.threads)
    result = report.report()
    return result.to_json() | {"knowledge": known._asdict()}, _check_text(result, known)


class _KnownScenes(NamedTuple):
    """Which scenes have a node in the knowledge graph, without which they have no core concepts.

    graph : its SPEC. nodes : scene → node, as the name itself says. guessed : scene → node of a
    name spelt nearly alike, or one that is only suggested: its head noun. missing : scenes without
    any.
    """

    graph: str
    nodes: dict[str, str]
    guessed: dict[str, str]
    missing: list[str]


def _known_scenes(scenes: list[str], spec: str) -> _KnownScenes:
    from core.knowledge.align import align
    from core.knowledge.kinds import open_knowledge

    if not scenes:
        return _KnownScenes(spec, {}, {}, [])
    frame = align(scenes, open_knowledge(spec))
    guess = frame["kind"].isin(["head_noun", "fuzzy"]) | (frame["suggested"] != "")
    frame["node"] = frame["node"].fillna(frame["suggested"].replace("", None))
    none = frame["node"].isna()

    def pairs(rows: Any) -> dict[str, str]:
        return dict(zip(frame["name"][rows], frame["node"][rows], strict=True))

    return _KnownScenes(
        spec, pairs(~guess & ~none), pairs(guess & ~none), frame["name"][none].tolist()
    )


def _known_lines(known: _KnownScenes, few: int = 5) -> list[str]:
    guessed, missing = known.guessed, known.missing
    total = len(known.nodes) + len(guessed) + len(missing)
    if not total:
        return []
    lines = [
        f"            {len(known.nodes):,} of them with a node in the knowledge graph "
        f"({known.graph})"
    ]
    pairs = [f"{name} → {node}" for name, node in guessed.items()]
    for what, names in (("by a guess", pairs), ("without one, so without core concepts", missing)):
        if names:
            more = ", …" if len(names) > few else ""
            lines.append(f"            {len(names):,} {what}: {', '.join(names[:few])}{more}")
    return lines


def _check_text(result: DatasetReport, known: _KnownScenes) -> str:
    read, usable = result.read, result.usable
    lines = [f"dataset     {result.spec}: {_count(result.images, 'image')}"]
    if result.labels_by:
        lines.append(f"labels      predicted by {result.labels_by}, not made by people")
    state = ", stopped" if result.stopped else ""
    lines.append(f"read        {read:,}{state}; {usable:,} can be used")
    splits = ", ".join(f"{name} {count:,}" for name, count in result.splits.items())
    lines.append(f"splits      {splits}")
    most = sorted(
        ((sum(count.values()), name) for name, count in result.scenes.items()),
        key=lambda row: (-row[0], row[1]),
    )
    if most:
        first = ", ".join(f"{name} {count:,}" for count, name in most[:5])
        more = ", …" if len(most) > 5 else ""
        lines.append(f"scenes      {len(most):,}: {first}{more}")
        if result.rare_scenes:
            lines.append(f"            {result.rare_scenes:,} of them with fewer than 5 images")
        lines += _known_lines(known)
    if result.unnamed:
        lines.append(f"            {_count(result.unnamed, 'image')} without a scene")
    for name, row in result.categories.items():
        channels = row.channels
        where = _count(channels, "channel") if channels else "of whole photos"
        share = ""
        if channels and row.annotated is not None:
            share = f", {row.annotated:.1%} of the pixels annotated"
        lines.append(
            f"{name:11} {_count(row.concepts, 'concept')}, {row.found:,} in the photos read, "
            f"{where}{share}"
        )
    for what, sizes in (("photos", result.photo_sizes), ("masks", result.mask_sizes)):
        if sizes:
            shown = ", ".join(f"{w}×{h} ({n:,})" for w, h, n in sizes[:3])
            more = f" and {len(sizes) - 3:,} more sizes" if len(sizes) > 3 else ""
            lines.append(f"{what:11} {shown}{more}")
    if result.bare:
        lines.append(f"            {_count(result.bare, 'photo')} read without any annotation")
    return "\n".join([*lines, *_note_lines(result.notes), *_problem_lines(result.problems)])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _note_lines(notes: list[str]) -> list[str]:
    return [f"note        {note}" for note in notes]


def _problem_lines(problems: list[ProblemKind]) -> list[str]:
    if not problems:
        return ["problems    none"]
    total = sum(row.count for row in problems)
    lines = [f"problems    {total:,}, of {_count(len(problems), 'kind')}"]
    for row in problems:
        lines.append(f"  {row.count:,} × {row.kind}")
        lines += [f"      {path}: {reason}" for _, path, reason in row.first]
    return lines


def _folder_from(given: argparse.Namespace) -> Answer:
    from core.datasets.check import grouped, problems_json
    from core.datasets.convert import check_target, folder_from_dataset
    from core.datasets.instances import Instances
    from core.datasets.readers.labelme import folder_from_labelme

    with stoppable() as stop:
        if given.format == "labelme":
            made = folder_from_labelme(given.source, given.to, show_progress, stop)
        else:
            check_target(given.source, given.to)
            data = Instances.from_folder(given.source, f"coco:{given.source}:instances")
            made = folder_from_dataset(data, given.to, show_progress, stop)
    spec, problems = f"folder:{given.to}", grouped(made.problems)
    facts = {
        "dataset": spec,
        "photos": made.photos,
        "labels": made.labels,
        "scenes": made.scenes,
        "notes": made.notes,
        "problems": problems_json(problems),
    }
    labels = ", ".join(f"{count} {category}" for category, count in made.labels.items())
    lines = [
        f"{spec}: {_count(made.photos, 'photo')}, labels: {labels or 'none'}; "
        f"{_count(made.scenes, 'scene')}",
        *_note_lines(made.notes),
        *_problem_lines(problems),
        f"check it:  python -m core datasets check {spec}",
    ]
    return facts, "\n".join(lines)
