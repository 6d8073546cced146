"""Free words brought to the concepts of a data set.

A label that somebody brings, or that comes from a list of words, is a text: ``prayer rug, prayer
mat``, ``reception-s``, ``book shelves``. Only what names an annotated concept can be judged by
masks. Words are aligned with the data set's concepts as names are with the nodes of a knowledge
graph (:class:`core.knowledge.align.Aligner`): as they stand, then by case, separators, plural,
words of place behind the noun, and a letter that is off; synonyms parted by commas are tried in
turn. What is left is listed with a suggestion: the concept of its head noun (a dining table is a
table, but the unit may detect dining tables alone), or that of the verb it is a form of (shelving
may be shelves; boxing is no box).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import pandas as pd

from core.dissect.formula import OR, Formula
from core.knowledge.align import Aligner, singulars, split_synonyms
from core.knowledge.graph import Graph, fold
from core.labelling.label import Terms
from core.labelling.probe import Probe

SUFFIXES = {"-s": "scene", "-c": "color"}
"""How Broden marks the names of scenes and colours, ``street-s``, and the category it means."""


class Named(NamedTuple):
    """What words name.

    concepts : ids; several where categories share the name (water, the thing and the material).
    kind : of :data:`core.knowledge.align.KINDS`, ``none`` where there is no concept.
    suggested : the name of a concept that may be meant, where the words name none.
    """

    concepts: tuple[int, ...]
    kind: str
    suggested: str = ""

    @property
    def terms(self) -> Terms:
        """What the words say: any of the concepts; () of words that name none."""
        if not self.concepts:
            return ()
        return ((1.0, Formula(self.concepts, (0, *[OR] * (len(self.concepts) - 1)))),)


NONE = Named((), "none")


class Naming:
    """Looks words up among the concepts of a probe's categories."""

    def __init__(self, probe: Probe):
        self._probe = probe
        usable = probe.concepts[probe.concepts["usable"]]
        self._category = dict(zip(usable["concept"], usable["category"], strict=True))
        names = dict(zip(usable["concept"], usable["name"], strict=True))
        self._of: dict[str, list[int]] = {}
        self._as_written: set[str] = set()
        for forms in (_forms, _other_forms):
            known = set(self._of)  # a name comes before another's singular
            for number, name in names.items():
                for form in forms(str(name), self._category[number]):
                    if form and form not in known:
                        self._of.setdefault(form, []).append(int(number))
            self._as_written = self._as_written or set(self._of)
        # Every name touches one edge: none is more common than another.
        edges = [("IsA", form, _HUB) for form in self._of]
        self._aligner = Aligner(Graph.from_edges(edges, "the data set's concepts"))

    def find(self, text: str) -> Named:
        """What a text names: one concept, or all those of one name."""
        if text in self._probe.ids:
            return Named((self._probe.ids[text],), "exact")
        for suffix, category in SUFFIXES.items():
            found = self._match(text.removesuffix(suffix)) if text.endswith(suffix) else NONE
            kept = tuple(c for c in found.concepts if self._category[c] == category)
            if kept:
                return Named(kept, "normalised" if found.kind == "exact" else found.kind)
        return self._match(text)

    def _match(self, text: str) -> Named:
        match = self._aligner.match(text)
        if match.node in self._of and match.kind == "lemmatised":
            # Graphs write verbs by their stems; data sets do not.
            return self._suggested(match.node)
        if match.node in self._of:
            other = match.kind == "exact" and match.node not in self._as_written
            return Named(tuple(self._of[match.node]), "normalised" if other else match.kind)
        noun = self._aligner.head_noun(text)
        return self._suggested(noun.node) if noun.node in self._of else NONE

    def _suggested(self, node: str) -> Named:
        return Named((), "none", self._probe.names[self._of[node][0]])


_HUB = "concept of the data set"
"""The node that all names are joined to: one without edges would be none."""


def _forms(name: str, category: str) -> Iterable[str]:
    return dict.fromkeys(fold(form) for form in (name, *split_synonyms(name)))


def _other_forms(name: str, category: str) -> Iterable[str]:
    """The name without Broden's suffix, and names that are plurals, such as `shelves`, in the
    singular: labels say `shelf`.

    >>> list(_other_forms("window blinds", "object")), list(_other_forms("red-c", "color"))
    (['window blind'], ['red'])
    """
    for suffix, of in SUFFIXES.items():
        if category == of and name.endswith(suffix):
            yield fold(name.removesuffix(suffix))
    for form in _forms(name, category):
        *before, last = form.split() or [""]
        yield from (" ".join([*before, one]) for one in singulars(last))


def name_words(probe: Probe, words: Sequence[str]) -> pd.DataFrame:
    """What each word or label names: a row each, in order.

    Columns word; concepts, their names joined by ``OR``, None where there is none; kind;
    suggested (:class:`Named`); terms (:data:`core.labelling.label.Terms`, None where there is no
    concept).
    """
    naming = Naming(probe)
    found = {word: naming.find(word) for word in dict.fromkeys(words)}
    rows = [found[word] for word in words]
    frame = pd.DataFrame({"word": list(words), "kind": [row.kind for row in rows]})
    frame["suggested"] = [row.suggested for row in rows]
    labels_of = [" OR ".join(probe.names[c] for c in row.concepts) or None for row in rows]
    frame["concepts"] = pd.Series(labels_of, dtype=object)
    frame["terms"] = pd.Series([row.terms or None for row in rows], dtype=object)
    return frame
