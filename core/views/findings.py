"""What is worth a look in a run: the first picture, and three findings."""

from __future__ import annotations

from typing import NamedTuple

from core.dissect.labels import null_distribution
from core.dissect.significance import FDR
from core.foundation.names import plain_name
from core.runs.run_file import Run
from core.views.images import OTHER, Filter, confusion, gallery
from core.views.names import detector_name, shown_name
from core.views.runs import judged, judged_words
from core.views.units import unit_images, unit_table


class Finding(NamedTuple):
    """Something worth a look: a title, one sentence, a picture's image and unit, an address.

    unit : None where the picture is the plain photo. page : ``"units"`` or ``"scenes"``;
    address : the parameters that open it there.
    """

    title: str
    text: str
    image: int
    unit: int | None
    page: str
    address: dict[str, str]


def findings(run: Run, layer: str, denominator: str = "all") -> list[Finding]:
    """The strongest unit, the commonest confusion, and a busy unit that means nothing.

    Each is left out where the run has none.
    """
    found = []
    table = unit_table(run, layer, denominator)
    named = table.dropna(subset="name").sort_values(["iou", "unit"], ascending=[False, True])
    rounds = null_distribution(run, layer, denominator).shape[1]
    if len(named):
        top = named.iloc[0]
        luck = ""
        if rounds:
            reached = round(top["chance"] * (1 + rounds)) - 1
            luck = (
                f"It does as well in {reached or 'none'} of {rounds:,} rounds of shuffled labels."
            )
        found.append(
            Finding(
                f"Unit {top['unit']} detects {top['label']}",
                f"The clearest unit of {layer}: its active regions and the {top['category']} "
                f"“{shown_name(top['name'])}” overlap with IoU {top['iou']:.3f}. {luck}",
                _picture(run, layer, int(top["unit"]), int(top["concept"]), 1),
                int(top["unit"]),
                "units",
                {"unit": str(top["unit"])},
            )
        )
    if not run.no_answers:
        found += _commonest_confusion(run)
    idle = table[(table["images"] > 0) & (table["adjusted"] > FDR)]
    if len(idle):
        unit = idle.sort_values(["hits", "unit"], ascending=[False, True]).iloc[0]
        found.append(
            Finding(
                f"Unit {unit['unit']} has no label better than chance",
                f"It is active in {unit['images']:,} images, yet its best label, "
                f"“{unit['label']}” (IoU {unit['iou']:.3f}), is matched in "
                f"{unit['chance']:.0%} of rounds with shuffled labels.",
                _picture(run, layer, int(unit["unit"]), None),
                int(unit["unit"]),
                "units",
                {"unit": str(unit["unit"])},
            )
        )
    return found


def _commonest_confusion(run: Run) -> list[Finding]:
    """The finding on it, [] where there is none."""
    split = judged(run)
    pairs = confusion(run, split)
    class_of = dict(run.sql("SELECT name, class FROM scenes WHERE class IS NOT NULL").to_numpy())
    wrong = pairs[(pairs["scene"] != pairs["predicted"]) & pairs["scene"].isin(list(class_of))]
    wrong = wrong[wrong["predicted"] != OTHER].sort_values("images", ascending=False)
    if not len(wrong):
        return []
    pair = wrong.iloc[0]
    choice = Filter(scene=pair["scene"], predicted=pair["predicted"], split=split, sort="confident")
    image = int(gallery(run, choice, size=1)[1]["image"].iloc[0])
    total = int(pairs.loc[pairs["scene"] == pair["scene"], "images"].sum())
    scene = plain_name(pair["scene"])
    return [
        Finding(
            f"{scene.capitalize()} predicted as {plain_name(pair['predicted'])}",
            f"The commonest confusion on {judged_words(split)}: {pair['images']} of {total} photos "
            f"of {scene} ({pair['share']:.0%}).",
            image,
            None,
            "scenes",
            {
                "scene": pair["scene"],
                "predicted": pair["predicted"],
                "sort": "confident",
                "split": split,
            },
        )
    ]


def _picture(run: Run, layer: str, unit: int, concept: int | None, place: int = 0) -> int:
    """Of the images in which a unit peaks highest, the one that shows its concept best.

    place : 1 for the next best one, where there is one.
    """
    top = unit_images(run, layer, unit, concept, count=24)
    best = top.sort_values("iou", ascending=False, kind="stable")["image"]
    return int(best.iloc[min(place, len(best) - 1)])


class Sight(NamedTuple):
    """A unit, its label as people read it, what it detects, its IoU, and the images in which it
    peaks highest, the highest first."""

    unit: int
    label: str
    detector: str
    iou: float
    images: tuple[int, ...]


def hero(
    run: Run, layer: str, denominator: str = "all", count: int = 3, photos: int = 5
) -> list[Sight]:
    """The units of the highest IoU, each with the photos in which it peaks highest.

    Nothing is picked by how it looks: units by IoU alone, photos by peak alone. Detectors of
    things, whose IoU is of a region, go before those of scenes, and labels better than chance
    before others. Empty where no unit overlaps any label.
    """
    table = unit_table(run, layer, denominator).dropna(subset="name")
    table["sure"] = table["above"] | table["chance"].isna()
    table["thing"] = table["detector"] != detector_name("scene")
    order = ["sure", "thing", "iou", "unit"]
    best = table.sort_values(order, ascending=[False, False, False, True]).head(count)
    found = []
    for row in best.itertuples(index=False):
        top = unit_images(run, layer, int(row.unit), None, photos)["image"]
        found.append(
            Sight(int(row.unit), row.label, row.detector, float(row.iou), tuple(map(int, top)))
        )
    return found


def detectors(run: Run, layer: str, denominator: str = "all") -> dict[str, int]:
    """How many units of a layer detect what, of those better than chance (of all with a label where
    chance was not measured): ``object detector`` → units, the most first."""
    table = unit_table(run, layer, denominator).dropna(subset="name")
    sure = table[table["above"] | table["chance"].isna()]
    return {str(k): int(n) for k, n in sure["detector"].value_counts().items()}
