"""What scenes rest on, set-wide: the mean effect of every concept, crossed with core concepts.

For a photo i of scene y that shows concept c, with the margin m_y = z_y − mean of all other logits
(or z_y − z_rival, see :data:`MARGINS`),

    d_i(c) = [m_y(x) − m_y(x∖c)] − mean over regions elsewhere of [m_y(x) − m_y(x∖elsewhere)]

is what the concept does beyond what a region of its shape does (:mod:`core.attribution.effects`).
The mean of d over the photos of a scene says how much the scene rests on the concept. It is given
in logits and as a share of the scene's *lead*, the mean margin of its photos.

**Relied on** is a concept whose mean d exceeds :data:`WORTH` of the lead by more than luck: by the
sign-flip test of d − WORTH · lead (:func:`core.attribution.chance.sign_flip`), with the false
discovery rate over all (scene, concept) pairs held by Benjamini and Hochberg. With core concepts
(SCC, ICC or Top 10) that makes five standings, :class:`SceneStanding`.

**Pulls** are the same over all photos that show c, whatever their true scene: what c does to the
margin of a class k. A shortcut pulls photos of other scenes towards k too, which the mean over
those photos alone says (`elsewhere`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.attribution.chance import false_discoveries, sign_flip
from core.attribution.measured import Measured
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import spread
from core.foundation.vocabulary import SceneStanding
from core.knowledge.core_concepts import CoreConcepts

LEAST = 5
"""Photos that must show a concept before anything is said of it. Four cannot reach p < 0.1."""

LEVEL = 0.05
"""False discovery rate."""

WORTH = 0.02
"""Share of a scene's lead that a concept must carry to count. With many photos any effect differs
from 0 by more than luck; a fiftieth of the lead (0.07 logits on `rooms`, where right answers win
over their runner-up by 1.4) is the least that is worth a word."""

MARGINS = ("others", "rival")
"""The true scene over the mean of all other classes, or over its strongest rival: the runner-up
where the answer is right, the answer where it is wrong."""


@dataclass(frozen=True, eq=False)
class Reliance:
    """What every scene rests on.

    Attributes
    ----------
    margin : of :data:`MARGINS`. core : kind of the core concepts. least, level, worth : as asked.
    leads : scene → mean margin of its photos, float64 Series.
    rows : one row for each scene and concept that at least `least` of its photos show:

        scene, concept (id), name, category;
        photos : that show it and have a control, the n of all that follows. bare : further photos
        that show it so large that there is no region elsewhere; they count for nothing.
        effect, control : means in logits. net : mean of d, with its interval low, high.
        evidence : mean over the same photos, with evidence_low, evidence_high.
        share : net / lead. p, q : of the sign-flip test, raw and adjusted. core : bool.
        standing : of :class:`SceneStanding`.
    pulls : one row for each class and concept, over all photos that show it:

        scene (the class), concept, name, category, photos, net, low, high, share, p, q, core as
        above; own, others : photos of the scene itself, and of others; elsewhere, elsewhere_low,
        elsewhere_high : mean of d over the others (NaN below two).
    """

    margin: str
    core: str
    least: int
    level: float
    worth: float
    leads: pd.Series
    rows: pd.DataFrame
    pulls: pd.DataFrame

    def candidates(self, scene: str | None = None) -> pd.DataFrame:
        """Rows that are relied on though not core, the largest share of the lead first."""
        found = self.rows[self.rows["standing"] == SceneStanding.SHORTCUT]
        return _ranked(self._of(found, scene))

    def ignored(self, scene: str | None = None) -> pd.DataFrame:
        """Rows that are core but ignored, the most photos first."""
        found = self._of(self.rows[self.rows["standing"] == SceneStanding.IGNORED], scene)
        return found.sort_values(["photos", "scene", "name"], ascending=[False, True, True])

    def shortcuts(
        self, scene: str | None = None, core_too: bool = False, all_rows: bool = False
    ) -> pd.DataFrame:
        """Pulls that look like shortcuts, ranked: the lower end of the share's interval first.

        A pull is listed where it exceeds `worth` of the class's lead (q ≤ level), the concept is
        not core to the class, photos of other scenes are pulled too (lower end above 0), and at
        least `least` photos of the scene itself show it: a street's pavement that looks a little
        like a kitchen's floor is no shortcut that kitchens could have taught.

        scene : one class alone. core_too : core concepts as well. all_rows : every pull of a
        concept that is not core, listed or not, in the same order: for a rank of what was missed.

        Raises UnitscopeError for an unknown scene.
        """
        found = self.pulls
        if not core_too:
            found = found[~found["core"]]
        if not all_rows:
            found = found[
                (found["q"] <= self.level)
                & (found["net"] > 0)
                & (found["elsewhere_low"] > 0)
                & (found["own"] >= self.least)
            ]
        return _ranked(self._of(found, scene))

    def _of(self, frame: pd.DataFrame, scene: str | None) -> pd.DataFrame:
        if scene is None:
            return frame
        if scene not in self.leads.index:
            raise unknown("scene that was measured", scene, self.leads.index)
        return frame[frame["scene"] == scene]


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    floor = frame["share"] * frame["low"] / frame["net"]
    return (
        frame.assign(floor=floor.fillna(-np.inf))
        .sort_values(["floor", "scene", "name"], ascending=[False, True, True], ignore_index=True)
        .drop(columns="floor")
    )


def reliance(
    measured: Measured,
    core: CoreConcepts,
    margin: str = "others",
    least: int = LEAST,
    level: float = LEVEL,
    worth: float = WORTH,
    seed: int = 0,
) -> Reliance:
    """What every scene of the measured photos rests on, crossed with core concepts.

    Parameters
    ----------
    core : of the run's scenes, of any kind; column k is concept id k + 1. A scene that it does not
        have has no core concepts.
    margin : of :data:`MARGINS`. least : photos. level : false discovery rate. worth : share of the
        lead. seed : of the sign flips.

    Raises UnitscopeError for an unknown margin, and where no photo has a scene that the network
    knows.
    """
    if margin not in MARGINS:
        raise unknown("margin", margin, MARGINS)
    table = _Table.of(measured, core, margin, seed)
    rows, pulls = [], []
    for k, scene in table.names.items():
        own = table.target == k
        rows.append(table.of_scene(k, scene, own, least, worth))
        pulls.append(table.of_class(k, scene, own, least, worth))
    found = [_adjusted(pd.concat(parts, ignore_index=True)) for parts in (rows, pulls)]
    found[0]["standing"] = [
        _standing(row, level, worth * table.leads[row.scene])
        for row in found[0].itertuples(index=False)
    ]
    return Reliance(margin, core.kind, least, level, worth, table.leads, *found)


def rival(measured: Measured) -> np.ndarray:
    """int64 (images,): what the true scene is held against: the answer where it is wrong, else
    the answer's runner-up; −1 where nothing of the photo was measured."""
    predicted, target, against = (
        measured.images[name].to_numpy(np.int64) for name in ("predicted", "target", "against")
    )
    held = np.where((predicted == target) | (against < 0), against, predicted)
    return np.asarray(held)


@dataclass(frozen=True, eq=False)
class _Table:
    """Differences and evidence as matrices (images, concepts), NaN where a photo has none.

    names : class → scene. target, other : of the images, the true class and what it is held
    against (None for the mean of all others). leads : by scene. concepts : of the columns: id,
    name, category. core : of the scenes.
    """

    measured: Measured
    names: dict[int, str]
    target: np.ndarray
    other: np.ndarray | None
    leads: pd.Series
    concepts: pd.DataFrame
    column: np.ndarray
    core: CoreConcepts
    seed: int

    @classmethod
    def of(cls, measured: Measured, core: CoreConcepts, margin: str, seed: int) -> _Table:
        known = measured.images[measured.images["target"] >= 0]
        if not len(known):
            raise UnitscopeError("no photo of these splits has a scene that the network knows")
        names = {int(k): str(part["scene"].iloc[0]) for k, part in known.groupby("target")}
        target = measured.images["target"].to_numpy(np.int64)
        other = rival(measured) if margin == "rival" else None
        concepts = measured.rows.drop_duplicates("concept").sort_values("concept")
        column = np.searchsorted(concepts["concept"], measured.rows["concept"])
        leads = _leads(measured, names, target, other)
        about = concepts[["concept", "name", "category"]].reset_index(drop=True)
        return cls(measured, names, target, other, leads, about, column, core, seed)

    def matrix(self, values: np.ndarray) -> np.ndarray:
        """Values of the rows as float64 (images, concepts)."""
        table = np.full((len(self.target), len(self.concepts)), np.nan)
        table[self.measured.rows["photo"].to_numpy(), self.column] = values
        return table

    def effects(self, k: int, other: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Effect and control of every concept on the margin of class k."""
        a = np.full(len(self.target), k)
        effect = self.measured.effect(a, other)
        return self.matrix(effect), self.matrix(self.measured.control_effect(a, other))

    def members(self, scene: str) -> np.ndarray:
        """bool (concepts,): core to the scene?"""
        if scene not in self.core.scenes:
            return np.zeros(len(self.concepts), bool)
        row = self.core.members[self.core.scenes.index(scene)]
        at = self.concepts["concept"].to_numpy() - 1
        members: np.ndarray = (at < len(row)) & row[np.minimum(at, len(row) - 1)]
        return members

    def tested(
        self, d: np.ndarray, scene: str, least: int, worth: float
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Columns of `d` with at least `least` differences, and what they say.

        p is of the mean lying within `worth` of the lead on either side of 0: of the nearer bound.
        """
        count = (~np.isnan(d)).sum(0)
        kept = np.flatnonzero(count >= least)
        d, lead = d[:, kept], self.leads[scene]
        net, low, high = (
            np.array([spread(column[~np.isnan(column)]) for column in d.T]).reshape(-1, 3).T
        )
        bound = np.sign(net) * np.minimum(worth * lead, np.abs(net))
        return kept, {
            "photos": count[kept],
            "net": net,
            "low": low,
            "high": high,
            "share": net / lead,
            "core": self.members(scene)[kept],
            "p": sign_flip(d - bound, self.seed),
        }

    def of_scene(
        self, k: int, scene: str, own: np.ndarray, least: int, worth: float
    ) -> pd.DataFrame:
        """Rows of one scene: its own photos."""
        effect, control = (part[own] for part in self.effects(k, self.other))
        kept, facts = self.tested(effect - control, scene, least, worth)
        effect, control = effect[:, kept], control[:, kept]
        counts = ~np.isnan(control)
        said = np.where(counts, self.matrix(self._evidence())[own][:, kept], np.nan)
        ends = np.array([spread(c[~np.isnan(c)]) for c in said.T]).reshape(-1, 3).T
        return self.concepts.iloc[kept].assign(
            scene=scene,
            bare=(~np.isnan(effect) & ~counts).sum(0),
            effect=np.nanmean(np.where(counts, effect, np.nan), 0) if len(kept) else [],
            control=np.nanmean(control, 0) if len(kept) else [],
            evidence=ends[0],
            evidence_low=ends[1],
            evidence_high=ends[2],
            **facts,
        )

    def of_class(
        self, k: int, scene: str, own: np.ndarray, least: int, worth: float
    ) -> pd.DataFrame:
        """Pulls towards one class: all photos."""
        effect, control = self.effects(k, None)
        d = effect - control
        kept, facts = self.tested(d, scene, least, worth)
        away = d[~own][:, kept]
        ends = np.full((3, len(kept)), np.nan)
        for column, values in enumerate(away.T):
            values = values[~np.isnan(values)]
            if len(values) >= 2:
                ends[:, column] = spread(values)
        return self.concepts.iloc[kept].assign(
            scene=scene,
            own=(~np.isnan(d[own][:, kept])).sum(0),
            others=(~np.isnan(away)).sum(0),
            elsewhere=ends[0],
            elsewhere_low=ends[1],
            elsewhere_high=ends[2],
            **facts,
        )

    def _evidence(self) -> np.ndarray:
        """float64 (rows,), for the true scene over what it is held against."""
        both = self.measured.evidence.astype(np.float64)
        if self.other is None:
            return both[:, 1]
        images = self.measured.images
        right = (images["predicted"] == images["target"]).to_numpy()
        sign = np.where(right, 1.0, -1.0)[self.measured.rows["photo"]]
        return np.asarray(sign * both[:, 0])


def _leads(
    measured: Measured, names: dict[int, str], target: np.ndarray, other: np.ndarray | None
) -> pd.Series:
    """Mean margin of each scene's photos; at least a hundredth of a logit, as shares are of it."""
    logits = measured.before.astype(np.float64)
    mine = logits[np.arange(len(logits)), target]
    if other is None:
        lead = mine - (logits.sum(1) - mine) / max(1, logits.shape[1] - 1)
    else:
        lead = np.where(other >= 0, mine - logits[np.arange(len(logits)), other], np.nan)
    found = {}
    for k, name in names.items():
        values = lead[(target == k) & ~np.isnan(lead)]
        found[name] = max(float(values.mean()), 0.01) if len(values) else 0.01
    return pd.Series(found)


def _adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(q=false_discoveries(frame["p"].to_numpy()))


def _standing(row: Any, level: float, little: float) -> SceneStanding:
    """Of a row: measurement first, then knowledge. A core concept is ignored where all of the
    interval lies below `little` (logits), or where it speaks against its scene."""
    found = row.q <= level
    if found and row.net > 0:
        return SceneStanding.CORE if row.core else SceneStanding.SHORTCUT
    if row.core:
        return SceneStanding.IGNORED if found or row.high < little else SceneStanding.UNSURE
    return SceneStanding.AGAINST if found else SceneStanding.NONE
