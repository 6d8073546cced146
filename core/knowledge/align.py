"""Names of scenes and concepts, brought to the nodes of a knowledge graph.

Datasets write ``building_facade``, ``arena-hockey``, ``night stand``, ``refridgerator`` or
``chest of drawers, chest, bureau, dresser``; a graph writes ``live room`` where people say living
room. Every name gets at most one node, by the first of these that finds one:

override     the user's own file says so
exact        the name, or a synonym, is a node as it stands
normalised   … after case, ``_ - /``, words joined or parted (nightstand, night stand), plural,
             or the two words of a dataset's name exchanged (arena-hockey → hockey arena)
lemmatised   … after endings of verbs: live room, dine room, stain glass
fuzzy        one letter off in a long name (refridgerator → refrigerator)
qualifier    … after the words of place and state that scene lists put behind a noun are left
             out: mountain_snowy → mountain
fuzzy        two letters off in a very long name
none         nothing found
head_noun    … after leaving other words out: computer_room → room, building_facade → build

A head noun is only suggested, in the column `suggested` of a name that has no node: a printer room
is a room, but what is in rooms (beds, bathtubs) is not in it. Whoever thinks otherwise accepts it
name by name, or all at once (`align --head-nouns --write FILE`, and `--overrides FILE` everywhere).
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from core.datasets.files import csv_rows, text_of
from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.files import write_whole
from core.foundation.names import plain_name
from core.knowledge.graph import Graph, fold

KINDS = (
    "override",
    "exact",
    "normalised",
    "lemmatised",
    "qualifier",
    "head_noun",
    "fuzzy",
    "none",
)
COLUMNS = ("name", "node", "kind", "score", "via", "suggested")

GUESSES = ("lemmatised", "qualifier", "head_noun", "fuzzy")
"""Kinds of alignment that are guesses: a person should look at them."""

QUALIFIERS = frozenset(
    (
        "indoor",
        "outdoor",
        "indoors",
        "outdoors",
        "interior",
        "exterior",
        "inside",
        "outside",
        "home",
        "public",
        "private",
        "natural",
        "artificial",
        "wild",
        "urban",
        "rural",
        "snowy",
        "sandy",
        "rocky",
        "grassy",
        "wooded",
        "frozen",
        "empty",
        "open",
        "closed",
    )
)
"""Words that scene lists put behind the noun: ``mountain_snowy``, ``church_outdoor``. Without
them a name means the same kind of thing."""

CONNECTING = frozenset(("of", "with", "for", "from", "at"))
"""Words that end the part of a name that holds its head: *chest* of drawers."""

PREFIXES = frozenset(("other", "mini", "micro", "multi", "super", "semi", "motor"))
"""What a long word may begin with beside a node: *other*furniture."""

IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "geese": "goose",
}

ODDS = 5
"""A long node is taken for a misspelling where one a letter away has this many times its edges."""


class Match(NamedTuple):
    """node, kind, score in [0, 1], via: the spelling of the name that led to the node; suggested:
    the node of its head noun, where it has no other."""

    node: str | None
    kind: str
    score: float
    via: str
    suggested: str = ""


NONE = Match(None, "none", 0.0, "")


# -- words -----------------------------------------------------------------------------------


def singulars(word: str) -> list[str]:
    """What a word may be the plural (or the genitive) of; the word itself is not among them.

    >>> singulars("shelves"), singulars("boxes"), singulars("berries"), singulars("glass")
    (['shelf', 'shelfe', 'shelve'], ['box', 'boxe'], ['berry', 'berrie'], [])
    """
    if word in IRREGULAR:
        return [IRREGULAR[word]]
    if word.endswith(("'s", "s'")):
        return [word[:-2]]
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return []
    out = []
    if word.endswith("ies"):
        out.append(word[:-3] + "y")
    elif word.endswith("ves"):
        out += [word[:-3] + "f", word[:-3] + "fe"]
    elif word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        out.append(word[:-2])
    return [*out, word[:-1]]


def stems(word: str) -> list[str]:
    """What a word ending in -ing or -ed may be a form of: a verb, as lemmatisers leave it.

    >>> stems("dining"), stems("swimming"), stems("building"), stems("king")
    (['din', 'dine'], ['swimm', 'swimme', 'swim'], ['build', 'builde'], [])
    """
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= 3 and re.search("[aeiouy]", stem):
            out = [stem, stem + "e"]
            if stem[-1] == stem[-2]:
                out.append(stem[:-1])
            return out
    return []


def split_synonyms(name: str) -> list[str]:
    """The names that a label lists, parted by commas or semicolons.

    >>> split_synonyms("chest of drawers, chest, bureau")
    ['chest of drawers', 'chest', 'bureau']
    """
    parts = [part.strip() for part in re.split("[,;]", name)]
    return list(dict.fromkeys(part for part in parts if part))


def _spaced(name: str) -> str:
    """:func:`plain_name`, with marks other than apostrophes as spaces."""
    return " ".join(re.sub(r"[^\w']+", " ", plain_name(name)).replace("_", " ").split())


def _spellings(words: Sequence[str]) -> Iterator[str]:
    """The words apart, joined or hyphened in every way; or one of them parted in two."""
    gaps = len(words) - 1
    if gaps > 3:
        yield " ".join(words)
        return
    for marks in itertools.product((" ", "", "-"), repeat=gaps):
        yield words[0] + "".join(a + b for a, b in zip(marks, words[1:], strict=True))
    for k, word in enumerate(words):
        for cut in range(3, len(word) - 2):
            for mark in " -":
                yield " ".join([*words[:k], word[:cut] + mark + word[cut:], *words[k + 1 :]])


# -- one name --------------------------------------------------------------------------------


class Aligner:
    """Looks names up in one graph."""

    def __init__(self, graph: Graph):
        self.graph = graph

    def match(self, name: str, synonyms: Sequence[str] = ()) -> Match:
        """The node of a name (see the module's text); its forms are tried in their order.

        A name that lists synonyms, parted by commas, gives several forms; so do `synonyms`. Head
        nouns are no matches: see :meth:`head_noun`.
        """
        found = self._first(
            (self.clean, self._misspelt, self._qualified, self._far), name, synonyms
        )
        return found or NONE

    def head_noun(self, name: str, synonyms: Sequence[str] = ()) -> Match:
        """The node of what is left of a name, or of a synonym, when words are left out."""
        return self._first((self._head,), name, synonyms) or NONE

    def _first(
        self,
        steps: Sequence[Callable[[str], Match | None]],
        name: str,
        synonyms: Sequence[str],
    ) -> Match | None:
        given = [name, *synonyms]
        forms = list(dict.fromkeys(part for g in given for part in (g, *split_synonyms(g))))
        # A clean match of any synonym is worth more than a piece of the first name.
        for step in steps:
            for form in forms:
                found = step(form)
                if found is not None:
                    return found
        return None

    def _hit(self, text: str) -> int | None:
        return self.graph.nodes.find(text)

    def _made(self, node: int, kind: str, score: float, via: str) -> Match:
        return Match(self.graph.nodes[node], kind, round(score, 3), via)

    def clean(self, form: str) -> Match | None:
        """The node of a whole name, exact, normalised or lemmatised; None where there is none."""
        node = self._hit(form)
        if node is not None:
            return self._corrected(node, "exact", 1.0, form)
        text = _spaced(form)
        words = text.split()
        if not words:
            return None
        found = self._words(words)
        if found is not None:
            return self._corrected(*found, text)
        if _parted(form):
            turned = self._words(words[::-1])
            if turned is not None:
                # With its words exchanged it is a guess at what the dataset's author meant.
                node, kind, score = turned
                return self._made(node, kind, score - 0.1, " ".join(words[::-1]))
        return None

    def _words(self, words: Sequence[str]) -> tuple[int, str, float] | None:
        """(node, kind, score) of a sequence of words, normalised or lemmatised.

        The words as they stand come first. Of all other spellings and forms the node with the
        most edges is taken: `livingroom` has one fact in CN-100K, `live room` has 77.
        """
        whole = self._hit(" ".join(words))
        if whole is not None:
            return whole, "normalised", 0.99
        best: tuple[int, str, float] | None = None
        most = -1

        def offer(ways: Iterable[Sequence[str]], kind: str, score: float) -> None:
            nonlocal best, most
            for way in ways:
                for text in _spellings(way):
                    node = self._hit(text)
                    if node is not None and self.graph.degree(node) > most:
                        best, most = (node, kind, score), self.graph.degree(node)

        offer([words], "normalised", 0.97)
        if len(words) <= 6:
            few = [[w, *singulars(w)] for w in words]
            offer(itertools.islice(itertools.product(*few), 1, 129), "normalised", 0.95)
            more = [[*options, *stems(w)] for options, w in zip(few, words, strict=True)]
            offer(itertools.islice(itertools.product(*more), 1, 257), "lemmatised", 0.9)
        return best

    def _corrected(self, node: int, kind: str, score: float, via: str) -> Match:
        """The match, or the right spelling where the node itself is a common misspelling.

        People's typing errors are in ConceptNet too: in CN-100K `refridgerator` has 17 facts,
        `refrigerator` 106.
        """
        name = self.graph.nodes[node]
        if len(name) >= 10 and name.isalpha():
            own = self.graph.degree(node)
            for distance, other in self.graph.close(name, 1):
                right = self.graph.nodes[other]
                plural = name in (right + "s", right + "es") or right == name + "s"
                common = self.graph.degree(other) >= ODDS * own
                if distance and common and right.isalpha() and not plural:
                    return self._made(other, "fuzzy", 1 - 1 / len(name), via)
        return self._made(node, kind, score, via)

    def _misspelt(self, form: str) -> Match | None:
        return self._fuzzy(form, 1, 8)

    def _far(self, form: str) -> Match | None:
        return self._fuzzy(form, 2, 12)

    def _fuzzy(self, form: str, most: int, shortest: int) -> Match | None:
        """One word that is no node replaced by a node at most `most` letters off.

        A word that is a node is not misspelt: water park is no water mark.
        """
        text = _spaced(form)
        words = text.split()
        for k, word in enumerate(words):
            if len(word) < shortest or not word.isalpha() or self._words([word]) is not None:
                continue
            for distance, other in self.graph.close(word, most):
                right = self.graph.nodes[other]
                found = self._words([*words[:k], right, *words[k + 1 :]])
                if found is not None:
                    return self._made(found[0], "fuzzy", 1 - distance / len(word), text)
        return None

    def _qualified(self, form: str) -> Match | None:
        words, result = _unqualified(form)
        found = self._words(words) if words != result else None
        if found is None:
            return None
        return self._made(found[0], "qualifier", 0.9 * found[2], " ".join(words))

    def _head(self, form: str) -> Match | None:
        for words, score in _heads(form):
            found = self._words(words)
            if found is not None:
                return self._made(found[0], "head_noun", score * found[2], " ".join(words))
        words = _spaced(form).split()
        if len(words) == 1:
            # The longest ending that is a node, where what is before it is a word too.
            (word,) = words
            for cut in range(3, len(word) - 3):
                node = self._hit(word[cut:])
                # An ending hardly known is chance: a lavatory is no tory.
                if node is None or self.graph.degree(node) < ODDS:
                    continue
                if word[:cut] in PREFIXES or self._hit(word[:cut]) is not None:
                    score = 0.6 * (len(word) - cut) / len(word)
                    return self._made(node, "head_noun", score, word[cut:])
        return None


def _parted(form: str) -> list[str]:
    """Head and purpose of a dataset's name that a hyphen or a slash parts in two; ``_`` only
    joins words.

    >>> _parted("arena-hockey"), _parted("/a/arena/hockey"), _parted("lean-to_tent")
    (['arena', 'hockey'], ['arena', 'hockey'], [])
    """
    form = re.sub(r"^/[a-z]/", "", form.strip().lower())
    parts = re.split("[-/]", form)
    return parts if len(parts) == 2 and all(part.isalpha() for part in parts) else []


def _unqualified(form: str) -> tuple[list[str], list[str]]:
    """The words of a name without the :data:`QUALIFIERS` at its end, and all of them.

    >>> _unqualified("mountain_snowy")
    (['mountain'], ['mountain', 'snowy'])
    """
    result = words = _spaced(form).split()
    while len(words) > 1 and words[-1] in QUALIFIERS:
        words = words[:-1]
    return words, result


def _heads(form: str) -> Iterator[tuple[list[str], float]]:
    """Parts of a name that may stand for it, best first, with a score.

    >>> [" ".join(words) for words, _ in _heads("florist_shop_indoor")]
    ['shop', 'florist']
    >>> [" ".join(words) for words, _ in _heads("arena-hockey")]
    ['arena', 'hockey']
    """
    words, result = _unqualified(form)
    for k, word in enumerate(words):
        if k and word in CONNECTING:
            yield words[:k], 0.8
            words = words[:k]
            break
    # In `arena-hockey` the hyphen parts the noun from what it is for.
    before = _parted(form) if words == result else []
    if before:
        yield before[:1], 0.8
    for k in range(1, len(words)):
        yield words[k:], 0.8 * (len(words) - k) / len(words)
    for k in range(len(words) - 1, 0, -1):
        if not before:
            yield words[:k], 0.6 * k / len(words)


# -- many names ------------------------------------------------------------------------------


def align(
    names: Sequence[str],
    graph: Graph,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    overrides: Path | Mapping[str, str | None] | None = None,
    head_nouns: bool = False,
) -> pd.DataFrame:
    """The node of every name: the alignment behind RC(y, G).

    Parameters
    ----------
    synonyms : further names of a name, tried after it. A name that lists synonyms itself, parted
        by commas, is taken apart anyway.
    overrides : the user's own choice of nodes: a mapping, or a file of :func:`read_overrides`.
        An empty node means that the name has none. Names that are not asked for are passed over.
    head_nouns : take the node of a name's head noun where it has no other.

    Returns
    -------
    DataFrame
        One row a name, in order: name, node (None where there is none), kind (of
        :data:`KINDS`), score in [0, 1] (1 exact or override, 0 none), via (the spelling of the
        name that led to the node), suggested (the node of the head noun of a name that has none;
        empty elsewhere). Rows of an override that says what is found or suggested anyway keep
        their own kind, so that the whole table can be edited and given back.

    Raises UnitscopeError for an override that names no node (with the nearest), or where none of
    the overridden names is among `names`.
    """
    aligner = Aligner(graph)
    chosen: dict[str, str | None] = {}
    source = "the overrides"
    if isinstance(overrides, Mapping):
        chosen = {plain_name(name): node for name, node in overrides.items()}
    elif overrides is not None:
        source = str(overrides)
        chosen = {plain_name(name): node for name, node in read_overrides(Path(overrides)).items()}
    asked = {plain_name(name) for name in names}
    if chosen and asked and not asked & set(chosen):
        raise UnitscopeError(
            f"{source}: {unknown('name', next(iter(chosen)), sorted(asked))}; none of its "
            f"{len(chosen)} names is used here"
        )
    rows = []
    for name in names:
        more = (synonyms or {}).get(name, ())
        match = aligner.match(name, more)
        noun = aligner.head_noun(name, more) if match.node is None else NONE
        if noun.node is not None:
            match = noun if head_nouns else match._replace(suggested=noun.node)
        key = plain_name(name)
        if key in chosen:
            node = chosen[key]
            if node is not None and str(node).strip():
                at = graph.node(str(node))
                if at is None:
                    near = ", ".join(graph.similar(str(node))) or "none is like it"
                    raise UnitscopeError(
                        f"{source}: {name!r} is to be {node!r}, which {graph.name} does not have; "
                        f"nearest: {near}"
                    )
                if graph.nodes[at] == noun.node:
                    match = noun
                elif graph.nodes[at] != match.node:
                    match = Match(graph.nodes[at], "override", 1.0, "override")
            elif match.node is not None:
                match = Match(None, "override", 1.0, "override")
        rows.append((name, *match))
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    # As objects, so that a missing node is None and not a NaN that passes for a name.
    frame["node"] = pd.Series([row[1] for row in rows], dtype=object)
    return frame


def write_alignment(frame: pd.DataFrame, path: Path) -> None:
    """Write the table of :func:`align` for the user to edit and give back as overrides.

    Comma separated where the name ends in .csv, else tab separated.
    """
    mark = "," if path.suffix.lower() == ".csv" else "\t"

    def write(fresh: Path) -> None:
        with fresh.open("w", encoding="utf-8", newline="") as f:
            out = csv.writer(f, delimiter=mark, lineterminator="\n")
            out.writerow(COLUMNS)
            for row in frame[list(COLUMNS)].itertuples(index=False):
                out.writerow(["" if value is None else value for value in row])

    write_whole(path, write)


def read_overrides(path: Path) -> dict[str, str | None]:
    """Name → node (None where the cell is empty) from a TSV or CSV file with a header.

    Columns `name` and `node`; others, such as those of :func:`write_alignment`, are passed
    over. Lines that begin with ``#`` too. Raises BadFile with the line and the reason.
    """
    lines = text_of(path).splitlines()
    start = next((k for k, s in enumerate(lines) if s.strip() and not s.startswith("#")), None)
    if start is None:
        raise BadFile(path, "is empty; it needs a header `name`, `node` and a line for each name")
    mark = "\t" if "\t" in lines[start] else ","
    rows = csv_rows(path, lines[start:], mark)
    head = [cell.strip().lower() for cell in next(rows)[1]]
    if "name" not in head or "node" not in head:
        raise BadFile(
            path, f"line {start + 1}: the header needs `name` and `node`; it has {', '.join(head)}"
        )
    name_at, node_at = head.index("name"), head.index("node")
    out: dict[str, str | None] = {}
    for line, cells in rows:
        number = start + line
        if not any(cell.strip() for cell in cells) or cells[0].startswith("#"):
            continue
        if len(cells) <= max(name_at, node_at):
            raise BadFile(path, f"line {number} has {len(cells)} columns of {len(head)}")
        name, node = cells[name_at].strip(), fold(cells[node_at])
        if not name:
            raise BadFile(path, f"line {number} has no name")
        if name in out and out[name] != (node or None):
            raise BadFile(path, f"line {number} names {name!r} again, with another node")
        out[name] = node or None
    return out
