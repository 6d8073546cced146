"""Why the network said what it said of one photo: accounts, evidence, photos without masks."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from core.datasets.decode import photo_of
from core.explain import account as accounts
from core.explain.account import Account, Listed, Seen
from core.explain.account import spoken as spoken
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.settings import judged_split
from core.foundation.vocabulary import Core
from core.runs.run_file import Run
from core.views.images import Filter, fitting
from core.views.images import concepts as concepts_of
from core.views.knowledge import Known
from core.views.pictures import active_region, encoded, outline, sized_photo

SIDES = ("predicted", "target")
GROUPS = ("met", "missed", "foreign")
MEASURES = {"CM": False, "SM": False, "DM": True}
"""Eqs. 3, 4, 5 → does a small value mean that the photo is like the scene?"""


@dataclass(frozen=True)
class Name:
    """A concept as the other pages have it: its label in addresses, and as people read it."""

    label: str
    shown: str


@dataclass(frozen=True)
class Told:
    """An account for people to read.

    account : the paper's account. names : of its concepts, by id. photo : JPEG of what the network
    saw, of a photo of one's own alone.
    """

    account: Account
    names: dict[int, Name]
    photo: bytes = b""

    def shown(self, item: Seen | Listed) -> str:
        """A concept as people read it."""
        return self.names[item.id].shown

    def label(self, item: Seen | Listed) -> str:
        """A concept as addresses have it."""
        return self.names[item.id].label


def account(
    run: Run, known: Known, image: str, layer: str, strategy: str, iou: str, kind: str
) -> Told:
    """:func:`core.explain.account.account` by core concepts of a `kind`, for people to read.

    Raises UnitscopeError as that does, and for an unknown kind.
    """
    Core.of(kind)
    found = accounts.account(run, known.core[kind], image, layer, strategy, iou)
    return _labelled(run, found)


def _labelled(run: Run, found: Account, photo: bytes = b"") -> Told:
    """Names as the other pages have them, in addition to those of the account."""
    listed = [item for side in found.sides.values() for g in GROUPS for item in getattr(side, g)]
    wanted = {item.id for item in [*found.seen, *listed]}
    names = {
        int(own.concept): Name(own.label, own.shown)
        for own in concepts_of(run).itertuples(index=False)
        if own.concept in wanted
    }
    return Told(found, names, photo)


def account_table(told: Told) -> pd.DataFrame:
    """An account as one table: side, scene, concept, group (met, missed, foreign), annotated,
    where, iou, units (numbers, the strongest first)."""
    seen = {one.id: one for one in told.account.seen}
    rows = []
    for side, facts in told.account.sides.items():
        for group in GROUPS:
            for item in getattr(facts, group):
                one = seen.get(item.id)
                rows.append(
                    {
                        "side": side,
                        "scene": facts.scene,
                        "concept": told.shown(item),
                        "group": group,
                        "annotated": item.annotated,
                        "where": one.where.words if one and one.where else "",
                        "iou": one.iou if one else None,
                        "units": ", ".join(str(u.unit) for u in one.units) if one else "",
                    }
                )
    columns = ["side", "scene", "concept", "group", "annotated", "where", "iou", "units"]
    return pd.DataFrame(rows, columns=columns)


def verdict(found: Account) -> dict[str, bool | None]:
    """Of Eq. 6, for one photo: is the measure strictly larger at the predicted scene than at the
    true one? By measure; None where a scene is missing, has no core concepts or is the other."""
    row = {one.scene: one for one in found.scenes}
    predicted, target = (
        row.get(side.scene) if side else None for side in (found.predicted_side, found.target_side)
    )
    if predicted is None or target is None or predicted is target or not found.seen:
        return dict.fromkeys(MEASURES)
    return {name: getattr(predicted, name) > getattr(target, name) for name in MEASURES}


def worth(run: Run, strategy: str, iou: str, kind: str) -> str:
    """What the paper's account was found to be worth on a run, beside measured effects, in a
    sentence; "" where nobody has tested it (``python -m core truth RUN``)."""
    from core.attribution.judged import ANSWERS
    from core.views.truth import truths

    mine = "-".join(["account", *(part.replace("_", "-") for part in (strategy, iou, kind))])
    for tested, found in truths(run).items():
        rows = {(row.method, row.answers): row.figures["rank"] for row in found.rows}
        for answers in ANSWERS:
            shares = [
                f"{words} {one.value:.2f} ({one.low:.2f} to {one.high:.2f})".replace("-", "−")
                for method, words in ((mine, "this account"), ("occlusion-inpaint", "measured"))
                if (one := rows.get((method, answers))) is not None and one.n
            ]
            if len(shares) == 2:
                return (
                    f"Held against what removals truly do ({tested}), rank correlation on "
                    f"{answers} answers, with 95 % intervals: {shares[0]}; {shares[1]}."
                )
    return ""


# -- which photo ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a photo stands among those that fit: the ids before and after it (None at the ends),
    its number (from 1; 0 where it does not fit itself), and how many there are."""

    before: str | None
    after: str | None
    number: int
    total: int


def place(run: Run, choice: Filter, image: int) -> Place:
    """Where a photo stands among those that fit."""
    where, values = fitting(run, choice)
    row = run.sql(
        f"""
        SELECT arg_max(id, image) FILTER (image < ?) AS before,
               arg_min(id, image) FILTER (image > ?) AS after,
               count(*) FILTER (image <= ?) AS number, bool_or(image = ?) AS fits,
               count(*) AS total FROM ({where})
        """,
        [image] * 4 + values,
    ).iloc[0]
    before, after = (None if pd.isna(row[k]) else str(row[k]) for k in ("before", "after"))
    fits = not pd.isna(row["fits"]) and bool(row["fits"])
    return Place(before, after, int(row["number"]) if fits else 0, int(row["total"]))


def clearest(run: Run, choice: Filter) -> str | None:
    """Of the photos that fit, the mistake the network is surest of; the surest photo where it
    makes none; None where nothing fits. Photos of the test split go first, where there is one: of
    those that the network learned, it knows the answers by heart."""
    where, values = fitting(run, choice)
    splits = run.sql("SELECT DISTINCT split FROM images ORDER BY 1")["split"].tolist()
    frame = run.sql(
        f"""SELECT id FROM ({where}) ORDER BY split IS DISTINCT FROM ?,
        correct NULLS LAST, confidence DESC NULLS LAST, image LIMIT 1""",
        [*values, judged_split(splits)],
    )
    return str(frame["id"].iloc[0]) if len(frame) else None


def drawn(run: Run, choice: Filter, seed: int) -> str | None:
    """One photo at random of those that fit, by a seed; None where nothing fits."""
    where, values = fitting(run, choice)
    total = int(run.sql(f"SELECT count(*) AS n FROM ({where})", values)["n"].iloc[0])
    if not total:
        return None
    at = int(np.random.default_rng(seed).integers(total))
    frame = run.sql(f"SELECT id FROM ({where}) ORDER BY image LIMIT 1 OFFSET {at}", values)
    return str(frame["id"].iloc[0])


# -- evidence -------------------------------------------------------------------------------


def evidence(
    run: Run, layer: str, image: int, concept: int | None, unit: int | None, side: int = 480
) -> bytes:
    """JPEG of a photo: a concept's mask bright, the rest dim, a unit's active region outlined.

    concept : an id, as annotated, on the working grid; None leaves the photo as it is. unit :
        its region A_t(x), sampled at the picture's own pixels; None draws none.

    Raises UnitscopeError for a unit where the run kept no maps.
    """
    photo = sized_photo(run, image, side)
    if concept is not None:
        labels = run.label_maps(image)
        mask = Image.fromarray(np.any(labels == concept, axis=0).astype(np.uint8) * 255)
        mask = mask.resize(photo.size, Image.Resampling.NEAREST)
        dim = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size), 0.55)
        photo = Image.composite(photo, dim, mask)
    if unit is not None:
        region = active_region(run, layer, unit, image, photo.size)
        outline(photo, Image.fromarray(region.astype(np.uint8) * 255))
    return encoded(photo)


def regions_photo(run: Run, image: int, concepts: tuple[int, ...], side: int = 480) -> bytes:
    """JPEG of a photo, bright where any of some concepts (ids) is annotated, the rest dim; as it is
    where there are none."""
    photo = sized_photo(run, image, side)
    if concepts:
        here = np.isin(run.label_maps(image), concepts).any(0)
        mask = Image.fromarray(here.astype(np.uint8) * 255)
        mask = mask.resize(photo.size, Image.Resampling.NEAREST)
        dim = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size), 0.55)
        photo = Image.composite(photo, dim, mask)
        outline(photo, mask)
    return encoded(photo)


# -- photos without masks -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Network:
    """A run's network, held open for photos of the user's own.

    digest : of its weights and code, as the run stored it. lock : one photo at a time: a forward
    pass watches layers by hooks, and two passes at once would see each other's.
    """

    model: Any
    digest: str
    lock: threading.Lock = field(default_factory=threading.Lock)


def open_network(run: Run) -> Network:
    """Load the network a run was made with. Raises UnitscopeError where it has changed since, or
    cannot be loaded."""
    from core.explain.photo import open_model

    return Network(open_model(run), run.info["settings"]["model"]["digest"])


def own_photo(
    run: Run, known: Known, network: Network, data: bytes, name: str, layer: str, kind: str
) -> Told:
    """:func:`core.explain.photo.explain_photo` of an image file's bytes, as :func:`account` gives
    it, with a JPEG of what the network saw.

    Raises UnitscopeError for bytes that are no image, or a photo too small for the network's
    preprocessing, saying which file and why.
    """
    from core.explain.photo import explain_photo

    photo = photo_of(data, name)
    try:
        with network.lock:
            found = explain_photo(run, known.core[kind], photo, name, layer, network.model)
    except UnitscopeError as err:
        raise BadFile(name, str(err)) from err
    return _labelled(run, found, encoded(network.model.preprocessing.view(photo).convert("RGB")))
