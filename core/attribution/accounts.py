"""The paper's account and its contribution score, as statements of what matters in a photo.

Nothing here runs the network: both are read off the run's counts and the core concepts of its
scenes, which come from the graph that the run was made with.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from core.ablation.contribution import Contribution, UnitConcepts
from core.attribution.case import Case
from core.explain.learned import learned_concepts, unit_ious
from core.foundation.errors import UnitscopeError, allow_empty
from core.foundation.progress import silent
from core.foundation.vocabulary import Core
from core.knowledge.core_concepts import Annotated, CoreConcepts, core_concepts, related_concepts
from core.knowledge.kinds import open_knowledge
from core.runs.run_file import Run


def core_of(run: Run, kind: str) -> CoreConcepts:
    """Core concepts of a run's scenes, by the graph that it was made with; worked out once.

    Where the graph knows none of its scenes, SCC is empty and ICC goes by frequency.
    """

    def made() -> dict[str, CoreConcepts]:
        annotated = Annotated.from_run(run)
        with allow_empty(silent):
            related = related_concepts(annotated, open_knowledge(run.own_knowledge))
        return {kind.value: core_concepts(annotated, related, kind) for kind in Core}

    Core.of(kind)
    return run.once("core.attribution.accounts.core_of", made)[kind]


def scene_of_class(run: Run) -> dict[int, str]:
    """Class of the network → the dataset's scene; of several spellings the first."""
    frame = run.sql(
        "SELECT class, arg_min(name, scene) AS name FROM scenes WHERE class IS NOT NULL "
        "GROUP BY class"
    )
    return dict(zip(frame["class"].astype(int), frame["name"].astype(str), strict=True))


def _members(case: Case, k: int, kind: str) -> np.ndarray:
    """bool (concepts,): which of a photo's concepts are core concepts of class k; none where the
    class is no scene of the dataset."""
    run = case.opened.run
    core, scene = core_of(run, kind), scene_of_class(run).get(k)
    if scene is None:
        return np.zeros(len(case.regions), bool)
    return np.asarray(core.members[core.scene(scene), case.regions.ids - 1])


def account(
    case: Case, a: int, b: int, strategy: str = "minmax_threshold", iou: str = "image", **more: str
) -> np.ndarray:
    """The paper's account: what the units learned in the photo, and whose core concept it is.

    For every concept of LC(x) (Eq. 2): +1 where it is a core concept of class a, −1 where it is
    one of class b; so 0 where it is both, neither, or was not learned. float64 (concepts,).

    more : `core`, the kind of core concepts. Raises UnitscopeError for an unknown strategy,
    reading of Eq. 2 or kind.
    """
    kind = more.get("core", Core.SCC.value)
    run, layer = case.opened.run, case.opened.recorded.layer
    learned = run.once(
        ("core.attribution.accounts.account", layer, strategy, iou),
        lambda: learned_concepts(run, layer, strategy, iou),
    )
    row = int(np.searchsorted(learned.images, case.image))
    has = learned.has[[row]].toarray()[0][case.regions.ids - 1]
    sides = _members(case, a, kind).astype(np.float64) - _members(case, b, kind)
    found: np.ndarray = has * sides
    return found


def contribution(case: Case, a: int, b: int, **given: str) -> np.ndarray:
    """Eq. 9 laid over the photo: what units contribute, where they overlap the concept.

    Importance of concept c = Σ_t [Con_Score(t, a) − Con_Score(t, b)] · σ(A_t(x), L(x, c)), over
    units t, with σ the IoU within the photo (Eq. 2); scores by the MinMax threshold over rightly
    predicted photos, as published. Units that do not overlap c say nothing of it. A class that is
    no scene, or has no core concepts, contributes 0. float64 (concepts,).

    given : `core`, the kind of core concepts.
    """
    kind = given.get("core", Core.SCC.value)
    run, layer = case.opened.run, case.opened.recorded.layer
    core = core_of(run, kind)
    scores: Contribution = run.once(
        ("core.attribution.accounts.contribution", layer, kind),
        lambda: UnitConcepts.of(run, layer).contribution(core),
    )
    names = scene_of_class(run)

    def of_class(k: int) -> np.ndarray:
        scene = names.get(k)
        if scene is None or not scores.has_core[scores.scene(scene)]:
            return np.zeros(scores.scores.shape[1])
        return np.asarray(scores.scores[scores.scene(scene)], np.float64)

    units = of_class(a) - of_class(b)
    pairs: pd.DataFrame = unit_ious(run, layer, "image", case.image)
    overlap = pairs["iou"].to_numpy() * units[pairs["unit"].to_numpy()]
    total = np.bincount(pairs["concept"].to_numpy(), overlap, minlength=case.regions.ids.max() + 1)
    found: np.ndarray = total[case.regions.ids]
    return found


def is_core(case: Case, k: int, kind: str = Core.SCC.value) -> np.ndarray:
    """bool (concepts,): which of a photo's concepts are core concepts of class k.

    Raises UnitscopeError for a class that the network does not have.
    """
    if not 0 <= k < len(case.opened.classes):
        raise UnitscopeError(f"the network has classes 0 to {len(case.opened.classes) - 1}, no {k}")
    return _members(case, k, kind)
