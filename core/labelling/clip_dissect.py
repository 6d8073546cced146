"""CLIP-Dissect: a unit is called by the word that photos go with as they go with the unit.

Oikarinen and Weng (ICLR 2023). An encoder says how near each photo is to each word; a similarity
(:mod:`core.labelling.similarity`) compares that with what the unit makes of the photos, the mean
of its map. No annotation is needed: words are those of the data set's concepts, or any list.

Where a word names a concept of the data set (:mod:`core.labelling.naming`), the label says so, and
can be judged by masks; other words stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import pandas as pd

from core.datasets.files import text_of
from core.foundation.errors import BadFile, UnitscopeError, without_effect
from core.foundation.files import expanded
from core.foundation.names import few
from core.foundation.progress import Hooks
from core.labelling.encoders import ENCODERS, Encoder, load_encoder
from core.labelling.naming import name_words
from core.labelling.probe import Probe
from core.labelling.similarity import SIMILARITIES, cosines

MOST_WORDS = 200_000
"""Words of the longest list: ten times the longest that the authors publish."""

MOST_FILE = 2**24
"""Bytes of a list of words."""

LONGEST_WORD = 200
"""Characters of a word of a list."""


def by_similarity(
    probe: Probe,
    similarity: str,
    encoder: str | Encoder | None = None,
    words: str | Path | Sequence[str] | None = None,
    **hooks: Unpack[Hooks],
) -> pd.DataFrame:
    """CLIP-Dissect's label of each unit of a layer.

    Parameters
    ----------
    similarity : of :data:`~core.labelling.similarity.SIMILARITIES`. Its prior is taken over all
        units of the layer, as published.
    encoder : its SPEC (:data:`~core.labelling.encoders.ENCODERS`), or one that is open.
    words : a file with a word a line, or the words; the concepts of the probe's categories where
        None.

    Columns unit, label, score (the similarity), second and second_score (the next best word),
    concepts and kind (what the label names, :func:`~core.labelling.naming.name_words`), terms. A
    unit whose activation is the same for all photos has no row. ``frame.attrs["encoder"]`` is the
    encoder's name, ``frame.attrs["note"]`` what it is and is not.

    Raises UnitscopeError where there is no encoder, where it lacks photos, where fewer than two
    words are left, and as the similarity; NoEffect for words that it does not know.
    """
    if encoder is None:
        forms = ", ".join(row.form for row in ENCODERS)
        raise UnitscopeError(
            f"CLIP-Dissect compares photos with words, which an encoder makes: name one, {forms}"
        )
    opened = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    asked, texts = _words(probe, words)
    vectors = opened.word_features(probe.run, texts, **hooks)
    known = np.isfinite(vectors).all(1)
    if not known.all():
        lacking = [word for word, there in zip(asked, known, strict=True) if not there]
        without_effect(
            f"{opened.name} has no features of {len(lacking)} of {len(asked)} words: "
            f"{few(lacking)}. Leave them out of the list of words (without one the words are the "
            "data set's concepts)"
        )
    asked = [word for word, there in zip(asked, known, strict=True) if there]
    seen = opened.image_features(probe.run, probe.numbers, **hooks)
    q = probe.activations
    near = SIMILARITIES[similarity](q, cosines(seen, vectors[known]), **hooks)
    units = np.flatnonzero(np.ptp(q, axis=0) > 0)
    best, second = _best_two(near[units])
    named = name_words(probe, [asked[k] for k in best])
    frame = pd.DataFrame(
        {
            "unit": units,
            "label": named["word"],
            "score": near[units, best],
            "second": [asked[k] for k in second],
            "second_score": near[units, second],
            "concepts": named["concepts"],
            "kind": named["kind"],
            "terms": named["terms"],
        }
    )
    frame.attrs |= {"encoder": opened.name, "note": opened.note}
    return frame


def _best_two(near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words of the largest and the next similarity, of equals the first."""
    rows = np.arange(len(near))
    best = near.argmax(1)
    others = near.copy()
    others[rows, best] = -np.inf
    second = others.argmax(1)
    # Where no other word has any similarity, argmax may name the best again.
    second = np.where(second == best, (best + 1) % near.shape[1], second)
    return best, second


def _words(probe: Probe, given: str | Path | Sequence[str] | None) -> tuple[list[str], list[str]]:
    """(words, as they are encoded). Names of data sets join words by ``_``, people do not."""
    if given is None:
        usable = probe.concepts[probe.concepts["usable"]]
        # Once for all categories: what differs by its category alone is one word.
        names = list(dict.fromkeys(usable["name"]))
        return names, [" ".join(name.replace("_", " ").split()) for name in names]
    words = read_words(Path(given)) if isinstance(given, (str, Path)) else list(given)
    return words, words


def read_words(path: Path) -> list[str]:
    """The words of a list, one a line; empty lines are passed over.

    Raises BadFile where it is missing, no text, too long, or has fewer than two words, NoEffect
    where a word is listed twice.
    """
    path = expanded(path)
    if path.is_file() and path.stat().st_size > MOST_FILE:
        raise BadFile(path, f"is larger than {MOST_FILE:,} bytes, which no list of words is")
    first: dict[str, int] = {}
    for line, text in enumerate(text_of(path).splitlines(), 1):
        word = text.strip()
        if len(word) > LONGEST_WORD:
            raise BadFile(
                path, f"line {line} has {len(word)} characters; a word has {LONGEST_WORD} at most"
            )
        if word and first.setdefault(word, line) != line:
            without_effect(f"{path}: line {line} is {word!r} again, as line {first[word]}")
    if not 2 <= len(first) <= MOST_WORDS:
        raise BadFile(path, f"has {len(first)} words; 2 to {MOST_WORDS:,} are compared")
    return list(first)
