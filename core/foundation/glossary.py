"""The glossary: every term of the field and the paper that pages, commands and documents use.

One entry a term: its name, what it means in a sentence or two, the words by which texts use it,
and the document that says more. The page Glossary and docs/glossary.md are written from it, and
headings and captions of pages link their terms to it (:mod:`pages.parts.terms`). What
:mod:`core.foundation.vocabulary` defines is quoted from there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from core.foundation.vocabulary import Core, Denominator, Eq2, Sign, Standing, Strategy


@dataclass(frozen=True)
class Entry:
    """A term.

    term : its name. meaning : short sentences, Markdown with TeX between dollars. words : other
    words that texts use for it, beside its name; a plural "s" is understood. more : the document
    that says more, in docs/. linked : whether texts link it; not where it is in every sentence.
    """

    term: str
    meaning: str
    words: tuple[str, ...] = ()
    more: str = ""
    linked: bool = True

    @property
    def slug(self) -> str:
        """The term as addresses and anchors have it: ``iou-denominator``."""
        return re.sub(r"[^a-z0-9]+", "-", self.term.lower()).strip("-")

    @property
    def spellings(self) -> tuple[str, ...]:
        """All words for it, the longest first."""
        return tuple(sorted({self.term, *self.words}, key=lambda word: (-len(word), word)))


def _says(meaning: str) -> str:
    return f"{meaning[:1].upper()}{meaning[1:]}."


GLOSSARY: tuple[Entry, ...] = (
    Entry(
        "accuracy",
        "The share of photos whose most probable class is their scene (top-1). It is of the "
        "held-out split unless a title says otherwise.",
        ("top-1 accuracy",),
        "intervals.md",
    ),
    Entry(
        "active",
        "A unit is active at a place where its activation exceeds its own threshold, and in a "
        "photo that has such a place.",
        ("active region",),
        "formulas.md",
        linked=False,
    ),
    Entry(
        "activation",
        "What a unit computes at each place of its map: one number a cell.",
        (),
        "architecture.md",
    ),
    Entry(
        "adjusted p-value",
        "A p-value corrected for testing many units at once: the false discovery rate of Benjamini "
        "and Hochberg. Up to 0.05, one in twenty of those listed at most is expected to be luck.",
        ("p adjusted", "false discovery rate"),
        "chance.md",
    ),
    Entry(
        "better than chance",
        "A unit whose label has an adjusted p-value of at most 0.05. A label that chance reaches "
        "too is written with a question mark: *dresser?*.",
        ("no better than chance",),
        "chance.md",
    ),
    Entry(
        "compositional formula",
        "A label of several concepts joined by OR, AND and AND NOT.",
        ("compositional label",),
        "formulas.md",
    ),
    Entry(
        "concept",
        "Something with a name that masks show: an object, a part, a material, a colour, a scene.",
        (),
        "datasets.md",
        linked=False,
    ),
    Entry(
        "concept selection strategy",
        "Which concepts the units have learned of a photo. "
        + " ".join(f"*{one.short}*: {one.meaning}." for one in Strategy),
        tuple(f"{one.short} strategy" for one in Strategy),
        "explain.md",
    ),
    Entry(
        "confidence",
        "The probability that the network gives its own prediction. Networks are often more "
        "confident than they are right.",
        (),
        "asking-why.md",
    ),
    Entry(
        "confusion matrix",
        "Photos counted by their scene (rows) and by the prediction (columns).",
        ("confusion",),
        "guide.md",
    ),
    Entry(
        "contribution score",
        "How much a unit speaks for a scene (Con_Score, Eq. 9): over the scene’s photos, learned "
        "concepts that are core concepts of it, less those that are not.",
        ("Con_Score",),
        "disable.md",
    ),
    Entry(
        "control",
        "The same done without what is tested: random units, regions elsewhere, training with "
        "λ = 0. Only what goes beyond the control counts.",
        (),
        "reliance.md",
    ),
    Entry(
        "core concepts",
        "The essential concepts of a scene, found as SCC, as ICC or as Top 10.",
        ("core concept",),
        "knowledge.md",
    ),
    Entry("SCC", f"Scoping core concepts (Eq. 1): {Core.SCC.meaning}.", (), "knowledge.md"),
    Entry("ICC", f"Identifier core concepts (Eq. 2): {Core.ICC.meaning}.", (), "knowledge.md"),
    Entry("Top 10", _says(Core.TOP10.meaning), (), "knowledge.md"),
    Entry(
        "CM",
        "Consistency metric (Eq. 3): the share of a scene’s core concepts that the units have "
        "learned of the photo.",
        ("consistency metric",),
        "explain.md",
    ),
    Entry(
        "SM",
        "Similarity metric (Eq. 4): learned concepts and core concepts, both over either.",
        ("similarity metric",),
        "explain.md",
    ),
    Entry(
        "DM",
        "Difference metric (Eq. 5): learned concepts that are not core, for each core concept. "
        "Small means near.",
        ("difference metric",),
        "explain.md",
    ),
    Entry(
        "disable",
        "To set a unit’s whole map to 0 (ablate, switch off, toggle).",
        ("ablate", "switch off", "toggle"),
        "disable.md",
        linked=False,
    ),
    Entry(
        "evidence",
        "A concept’s or a unit’s part of the margin, read off the linear classifier; exact where "
        "the network ends in a mean over places and one linear layer.",
        (),
        "asking-why.md",
    ),
    Entry(
        "golden concepts",
        "The concepts $c^*$ of a photo’s annotation that re-training asks for (Eq. 10).",
        (),
        "retrain.md",
    ),
    Entry(
        "held-out split",
        "Photos that the network was not trained on: *test*, else *val*. Accuracy, confusion "
        "matrices and changes are judged on them.",
        ("held-out photos", "held out"),
        "disable.md",
    ),
    Entry(
        "hidden state",
        "The mean activation of each unit of a layer: a photo as the classifier reads it.",
        (),
        "retrain.md",
    ),
    Entry(
        "interval",
        "A 95 % interval: what the true value is expected to lie in, were other photos drawn.",
        ("95 % interval", "confidence interval"),
        "intervals.md",
    ),
    Entry(
        "IoU",
        "Intersection over union: how well a unit’s active region and a concept’s annotated region "
        "cover each other; 0 is nowhere, 1 is the same.",
        ("intersection over union",),
        "formulas.md",
    ),
    Entry(
        "IoU: per image or whole dataset",
        f"Two readings of Eq. 2. *{Eq2.IMAGE.short.capitalize()}*: {Eq2.IMAGE.meaning}. "
        f"*{Eq2.DATASET.short.capitalize()}*: {Eq2.DATASET.meaning}.",
        ("IoU per image", "IoU over the whole dataset"),
        "explain.md",
    ),
    Entry(
        "IoU denominator",
        "Which pixels count in the union. "
        + " ".join(f"*{one.short.capitalize()}*: {one.meaning}." for one in Denominator),
        (),
        "formulas.md",
    ),
    Entry(
        "IoU gain",
        "How much higher the IoU of units is with a group of merged concepts than with one.",
        (),
        "filtering.md",
    ),
    Entry(
        "knowledge graph",
        "Facts as edges between words, such as *stove AtLocation kitchen*.",
        (),
        "knowledge.md",
    ),
    Entry(
        "label",
        "Of a unit: the concept of the highest IoU with it. It names where the unit is active, and "
        "proves no cause.",
        (),
        "labels.md",
        linked=False,
    ),
    Entry(
        "layer",
        "A stage of the network whose outputs are maps, one for each unit.",
        (),
        "models.md",
        linked=False,
    ),
    Entry(
        "learned concepts",
        "LC(x): the concepts that the layer’s units overlap in photo *x*, by a concept selection "
        "strategy (Eq. 2).",
        ("LC(x)", "learned concept"),
        "explain.md",
    ),
    Entry(
        "logit",
        "What the network gives a class before it is turned into a probability.",
        (),
        "asking-why.md",
    ),
    Entry(
        "margin",
        "The difference of two classes’ logits: of the prediction over another class.",
        (),
        "asking-why.md",
    ),
    Entry(
        "measured effect",
        "What the margin loses when a concept’s region is filled and the network is run again.",
        (),
        "asking-why.md",
    ),
    Entry(
        "merged concepts",
        "Names of nearly the same meaning, put into one group by an embedding of the knowledge "
        "graph.",
        (),
        "filtering.md",
    ),
    Entry(
        "negative neurons",
        f"Units that speak against a scene: {Sign.NEGATIVE.meaning}.",
        ("negative neuron", "negative unit", "negative score"),
        "disable.md",
    ),
    Entry(
        "positive neurons",
        f"Units that support a scene: {Sign.POSITIVE.meaning}.",
        ("positive neuron", "positive unit", "positive score"),
        "disable.md",
    ),
    Entry(
        "newly correct",
        "Photos that are predicted right after a change and were not before.",
        (),
        "disable.md",
    ),
    Entry(
        "newly wrong",
        "Photos that were predicted right before a change and are not after it.",
        (),
        "disable.md",
    ),
    Entry(
        "predictions changed",
        "Photos whose prediction is another class after a change, right or wrong.",
        (),
        "disable.md",
    ),
    Entry(
        "not annotated",
        "Nobody drew a mask of it in this photo. It may be there all the same.",
        (),
        "asking-why.md",
    ),
    Entry(
        "not significant",
        "The 95 % interval of a change contains 0: chance alone could have made it.",
        (),
        "intervals.md",
    ),
    Entry(
        "object detector",
        "A unit whose label is a thing with a region in photos: an object, a part, a material.",
        ("object detectors",),
        "labels.md",
    ),
    Entry(
        "scene detector",
        "A unit whose label is a scene, which covers the whole photo: no one thing in it stands "
        "out.",
        ("scene detectors",),
        "labels.md",
    ),
    Entry(
        "oracle",
        "What needs the true scene of a photo to decide which units to disable.",
        (),
        "disable.md",
    ),
    Entry(
        "p-value (permutation)",
        "The share of rounds with masks exchanged between photos in which the unit does as well.",
        ("p-value", "permutation test"),
        "chance.md",
    ),
    Entry(
        "regions elsewhere",
        "Regions of the concept’s shape laid elsewhere in the photo and filled alike: the control "
        "of a measured effect.",
        ("control band",),
        "asking-why.md",
    ),
    Entry(
        "reliance",
        "How much of a scene’s margin goes when a concept is removed from its photos.",
        (),
        "reliance.md",
    ),
    Entry(
        "saved set",
        "Units to disable, saved under a name; it can be loaded, compared and deleted.",
        (),
        "disable.md",
    ),
    Entry(
        "shortcut", _says(Standing.SHORTCUT.meaning.removeprefix("a shortcut: ")), (), "reliance.md"
    ),
    Entry(
        "SVM on explanations",
        "Re-training via prediction explanations (PE, Table 6): a linear classifier on CM, SM and "
        "DM, beside the network.",
        ("SVM",),
        "retrain.md",
    ),
    Entry(
        "threshold",
        "$T_t$: the $1-q$ quantile of a unit’s activations over all photos (q = 0.005).",
        (),
        "formulas.md",
    ),
    Entry(
        "top-5 accuracy",
        "The share of photos whose scene is among the five most probable classes.",
        (),
        "intervals.md",
    ),
    Entry(
        "unit",
        "One channel of a layer: a neuron of the paper.",
        ("neuron",),
        "architecture.md",
        linked=False,
    ),
    Entry(
        "untrained twin",
        "The same architecture with random weights, tested alike: what training did goes beyond.",
        (),
        "chance.md",
    ),
)
"""Every term, in the order of the alphabet but for families, which stand together."""


def entry(slug: str) -> Entry | None:
    """The entry of a slug; None where there is none."""
    return next((one for one in GLOSSARY if one.slug == slug), None)


def found(word: str) -> list[Entry]:
    """Entries in which a word occurs, those that are named so first; all for ""."""
    wanted = word.strip().lower()
    named = [e for e in GLOSSARY if any(wanted in s.lower() for s in e.spellings)]
    return named + [e for e in GLOSSARY if e not in named and wanted in e.meaning.lower()]
