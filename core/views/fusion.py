"""Merged concepts as the app shows them: groups at k, what may be asked, the curve of IoU gain.

Nothing is trained here: where an embedding or a curve is not there yet, the error says which
command makes it.
"""

from __future__ import annotations

from functools import lru_cache
from weakref import WeakKeyDictionary

import pandas as pd

from core.foundation.errors import UnitscopeError, unknown
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.merging.embed import MODELS as MODELS
from core.merging.fuse import WORDS as WORDS
from core.merging.fuse import (
    Links,
    Space,
    cluster,
    dendrogram,
    describe,
    make_links,
)
from core.merging.gain import Grouping, run_gain
from core.runs.run_file import Run
from core.views.knowledge import Known
from core.views.names import shown_name

Pairs = tuple[tuple[str, str], ...]
"""Pairs of concept labels, as a session keeps what a person merged or kept apart."""


Knowledge = str | Known
"""A knowledge SPEC (the run's own where empty), or a run's names in a graph that is open."""

_SPACES: WeakKeyDictionary[Known, Space] = WeakKeyDictionary()


@lru_cache(maxsize=4)
def _graph(spec: str) -> Graph:
    return open_knowledge(spec)


def _space(run: Run, knowledge: Knowledge) -> Space:
    if isinstance(knowledge, Known):
        if knowledge not in _SPACES:
            _SPACES[knowledge] = Space(run, knowledge.graph)
        return _SPACES[knowledge]
    return Space(run, _graph(knowledge or run.own_knowledge))


def _links(space: Space, merge: Pairs, apart: Pairs) -> Links | None:
    def concept(label: str) -> int:
        names = [space.labels[c] for c in space.members]
        if label not in names:
            raise unknown("concept", label, names)
        return int(space.members[names.index(label)])

    if not merge and not apart:
        return None
    return make_links(
        len(space.labels),
        [(concept(a), concept(b)) for a, b in merge],
        [(concept(a), concept(b)) for a, b in apart],
    )


def members(run: Run, knowledge: Knowledge = "") -> pd.DataFrame:
    """The concepts that take part, by their number: label, shown (for people), images."""
    space = _space(run, knowledge)
    labels = [space.labels[c] for c in space.members]
    return pd.DataFrame(
        {
            "label": labels,
            "shown": [shown_name(label) for label in labels],
            "images": space.images[space.members],
        },
        index=space.members,
    )


def embeddings_made(run: Run, knowledge: Knowledge = "") -> list[str]:
    """Embeddings that can be shown at once: similarity of names always, models once trained."""
    space = _space(run, knowledge)
    made = []
    for model in MODELS:
        try:
            space.embedding(model, make=False)
        except UnitscopeError:
            continue
        made.append(model)
    return [*made, WORDS]


def groups_range(
    run: Run,
    embedding: str = "TransE",
    scene: str = "",
    merge: Pairs = (),
    apart: Pairs = (),
    knowledge: Knowledge = "",
) -> tuple[int, int]:
    """(fewest, most) groups that can be made of all concepts, or of those of a scene."""
    space = _space(run, knowledge)
    members = space.scene(scene)[0] if scene else space.members
    vectors = space.vectors(embedding, make=False)
    tree = dendrogram(vectors, members, _links(space, merge, apart))
    return tree.least, tree.most


def concept_groups(
    run: Run,
    k: int,
    embedding: str = "TransE",
    method: str = "agglomerative",
    scene: str = "",
    merge: Pairs = (),
    apart: Pairs = (),
    knowledge: Knowledge = "",
) -> pd.DataFrame:
    """k groups of the concepts of a run, or of one scene: rows of
    :func:`core.merging.fuse.describe`, those with several members first.

    merge, apart : pairs of concept labels that a person merged or kept apart.
    Raises UnitscopeError for an unknown embedding, scene, concept or method, for a k that cannot be
    made, and where the embedding was not trained yet.
    """
    space = _space(run, knowledge)
    members, frequency = space.scene(scene) if scene else (space.members, space.images)
    vectors = space.vectors(embedding, make=False)
    groups = cluster(vectors, members, k, method, _links(space, merge, apart))
    return describe(groups, vectors, frequency, space.labels)


def gain(
    run: Run,
    layer: str,
    embedding: str = "TransE",
    method: str = "agglomerative",
    knowledge: Knowledge = "",
) -> pd.DataFrame:
    """IoU gain by number of groups with its controls: rows of
    :func:`core.merging.gain.gain_curve`, all images, every k.

    Raises UnitscopeError where the embedding or the curve was not made yet, naming the command.
    """
    space = _space(run, knowledge)
    vectors = space.vectors(embedding, make=False)
    return run_gain(run, space, vectors, Grouping(method=method), layer, make=False)
