"""The paper's own numbers, as printed, and what its text says of them.

Xie et al., "Knowledge-aware Neuron Interpretation for Scene Classification", AAAI 2024: Tables 1 to
6, and what can be read in the text of Figures 3 to 5, whose curves and bars are drawn without
numbers. Figures are kept as the strings that are printed, in percent, so that a test can find each
row again in the paper's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from core.foundation.errors import unknown

EVERY = "*"

Key = tuple[str, tuple[str, ...], str]
"""A figure: part (``table1``), row labels, column."""


@dataclass(frozen=True)
class Claim:
    """Something the paper's text says of its figures, as comparisons that can be counted.

    pairs : (what is said to be larger, what is said to be smaller); a number stands for itself, and
        the row label ``*`` for every first label there is (:data:`EVERY`).
    """

    text: str
    pairs: tuple[tuple[Key | float, Key | float], ...]


@dataclass(frozen=True)
class Printed:
    """A table or figure as the paper lays it out.

    Attributes
    ----------
    key : ``table1`` … ``table6``, ``figure3`` … ``figure5``. title : as in the paper's caption.
    labels : heads of the row labels. columns : of the figures, in the paper's order; those of
        Tables 1 to 4 are named as :data:`core.explain.metrics.METRICS`.
    rows : (row labels, how the row begins in the text, the figures as printed).
    about : what else must be known to read it.
    """

    key: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], str, str], ...]
    about: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = field(default=(), repr=False)

    @cached_property
    def cells(self) -> dict[tuple[tuple[str, ...], str], float]:
        """(row labels, column) → the printed figure, in percent."""
        out = {}
        for labels, _, printed in self.rows:
            # One figure of Table 1 is printed with a comma.
            figures = [float(part.replace(",", ".")) for part in printed.split()]
            for column, figure in zip(self.columns, figures, strict=True):
                out[labels, column] = figure
        return out


FALSE = ("CM_FP", "DM_FP", "SM_FP")
TRUE = ("CM_TP", "CM_TFP", "SM_TP", "SM_TFP")
STRATEGIES = ("Whole layer", "Highest IoU", "Threshold")
KINDS = ("Top 10", "SCC", "ICC")
EMBEDDINGS = ("TransD", "DistMult", "ProjE", "TransE")
GROUPS = (160, 165, 167, 168, 169, 170, 175, 180, 185)

ALL_GROUPS = 320
"""Groups in the paper's published table of clusterings where nothing is merged (its rows
``BASELINE``): what the numbers of groups in Table 5 are shares of."""

NETWORK = "ResNet18"
BETTER = "SCC or ICC, the better"
HIDDEN_ALONE = "SVM, hidden state alone"
MASKS_ALONE = "SVM, masks alone: no network, no knowledge"
UNMASKED = ", without masks of the test photo"
"""Rows of ours in Table 6."""

DISABLED = ("paper", "negative", BETTER)
"""Row of Figures 3 and 4 that the text gives one number for."""


def _more(
    part: str,
    rows: Sequence[tuple[str, ...]],
    than: Sequence[tuple[str, ...]],
    columns: Sequence[str],
) -> tuple[tuple[Key, Key], ...]:
    """Each of `rows` above the row of `than` in its place, in every column."""
    return tuple(
        ((part, a, c), (part, b, c)) for a, b in zip(rows, than, strict=True) for c in columns
    )


def _true_above_false(part: str, rows: Sequence[tuple[str, ...]]) -> tuple[tuple[Key, Key], ...]:
    """CM_TP above CM_TFP and SM_TP above SM_TFP in each row."""
    return tuple(
        ((part, row, f"{m}_TP"), (part, row, f"{m}_TFP")) for row in rows for m in ("CM", "SM")
    )


def _row(strategy: str, kind: str) -> tuple[str, str]:
    return strategy, kind


TABLE_1 = Printed(
    "table1",
    "Table 1: Results of false and true prediction explanation",
    ("LC", "CC"),
    (*FALSE, *TRUE),
    (
        (("ConceptSHAP", "–"), "ConceptSHAP –", "51.93 43.24 50.87 21.04 18.51 19.68 17.32"),
        (("CLIP-Dissect", "SCC"), "CLIP-Dissect SCC", "53.31 86.57 33.45 12.64 11.78 13.72 13.16"),
        (("CLIP-Dissect", "ICC"), "ICC", "46.94 67.06 38.94 33.31 32.44 21.76 21.17"),
        (("Whole layer", "Top 10"), "Top 10", "43.04 19.13 42.77 11.29 6.12 4.38 2.49"),
        (("Whole layer", "SCC"), "SCC", "78.51 87.30 69.85 12.95 9.94 8.17 6.85"),
        (("Whole layer", "ICC"), "ICC", "51.43 69.32 29.58 53.73 47.33 22.76 22.13"),
        (("Highest IoU", "Top 10"), "Top 10", "34.61 19.12 34.56 9.20 5.18 7.51 4.03"),
        (("Highest IoU", "SCC"), "SCC", "65.77 85.76 64.07 6.52 5.04 5.91 4.64"),
        (("Highest IoU", "ICC"), "ICC", "49.42 67.76 42.24 26.32 21.86 21.27 18.11"),
        (("Threshold", "Top 10"), "Top 10", "42.52 18,69 42.42 11.17 6.07 7.48 4.12"),
        (("Threshold", "SCC"), "SCC", "78.03 87.38 72.13 11.83 9.22 10.09 8.07"),
        (("Threshold", "ICC"), "ICC", "50.32 69.81 34.11 49.60 44.13 34.97 32.34"),
    ),
    (
        "Of DM the paper says both “more different from the target” and DM(x, y_p) > DM(x, y_t), "
        "which are opposites; here the formula is counted.",
        "One figure of the paper is printed “18,69”; it is taken as 18.69.",
    ),
    (
        Claim(
            "“both SCC and ICC achieve significant better results” than Top 10 on false "
            "predictions",
            _more(
                "table1",
                [_row(s, k) for s in STRATEGIES for k in ("SCC", "ICC")],
                [_row(s, "Top 10") for s in STRATEGIES for _ in range(2)],
                FALSE,
            ),
        ),
        Claim(
            "“All the best scores for false prediction explanation … come from SCC”",
            _more(
                "table1",
                [_row(s, "SCC") for s in STRATEGIES for _ in range(2)],
                [_row(s, k) for s in STRATEGIES for k in ("Top 10", "ICC")],
                FALSE,
            ),
        ),
        Claim(
            "the “threshold-based method achieves better results” than the other two on false "
            "predictions",
            _more(
                "table1",
                [_row("Threshold", k) for k in KINDS for _ in range(2)],
                [_row(s, k) for k in KINDS for s in ("Whole layer", "Highest IoU")],
                FALSE,
            ),
        ),
        Claim(
            "CM_TP and SM_TP “are larger than” CM_TFP and SM_TFP",
            _true_above_false("table1", [_row(s, k) for s in STRATEGIES for k in KINDS]),
        ),
        Claim(
            "On true predictions “ICC achieves the better results” (CM_TP, SM_TP above SCC and "
            "Top 10)",
            _more(
                "table1",
                [_row(s, "ICC") for s in STRATEGIES for _ in range(2)],
                [_row(s, k) for s in STRATEGIES for k in ("Top 10", "SCC")],
                ("CM_TP", "SM_TP"),
            ),
        ),
    ),
)

TABLE_2 = Printed(
    "table2",
    "Table 2: Integrating concept filtering for false prediction",
    ("Methods",),
    FALSE,
    (
        (("Top 10",), "Top 10", "58.76 26.14 58.82"),
        (("SCC",), "SCC", "81.17 85.97 74.74"),
        (("ICC",), "ICC", "55.73 69.85 37.39"),
    ),
    ("Neurons’ concepts: whole layer.",),
    (
        Claim(
            "“SCC achieves the best performance compared to ICC and Top 10”",
            _more("table2", [("SCC",)] * 2, [("Top 10",), ("ICC",)], FALSE),
        ),
        Claim(
            "“results are better than that without concept filtering in Table 1” (whole layer)",
            tuple(
                (("table2", (k,), c), ("table1", ("Whole layer", k), c))
                for k in KINDS
                for c in FALSE
            ),
        ),
    ),
)

TABLE_3 = Printed(
    "table3",
    "Table 3: Integrating concept filtering for true prediction",
    ("Methods",),
    TRUE,
    (
        (("Top 10",), "Top 10", "15.79 9.88 6.23 3.59"),
        (("SCC",), "SCC", "25.31 19.69 18.23 15.01"),
        (("ICC",), "ICC", "66.60 59.78 41.19 38.16"),
    ),
    ("Neurons’ concepts: whole layer.",),
    (
        Claim(
            "CM_TP and SM_TP “are larger than” CM_TFP and SM_TFP",
            _true_above_false("table3", [(k,) for k in KINDS]),
        ),
        Claim(
            "“results are better than that without concept filtering in Table 1” (CM_TP and SM_TP, "
            "whole layer)",
            tuple(
                (("table3", (k,), c), ("table1", ("Whole layer", k), c))
                for k in KINDS
                for c in ("CM_TP", "SM_TP")
            ),
        ),
    ),
)

MODELS = ("ResNet-50", "DenseNet-161", "AlexNet")

TABLE_4 = Printed(
    "table4",
    "Table 4: Results of false prediction explanation on different models",
    ("Models", "CC"),
    FALSE,
    (
        (("ResNet-50", "SCC"), "ResNet-50 SCC", "80.85 89.36 74.46"),
        (("ResNet-50", "ICC"), "ICC", "53.19 69.15 36.17"),
        (("DenseNet-161", "SCC"), "DenseNet-161 SCC", "78.63 81.32 45.65"),
        (("DenseNet-161", "ICC"), "ICC", "55.47 57.54 21.29"),
        (("AlexNet", "SCC"), "AlexNet SCC", "76.58 83.26 71.34"),
        (("AlexNet", "ICC"), "ICC", "60.23 68.33 31.57"),
    ),
    ("MinMax threshold. The paper: on 1,000 images of ADE20K drawn at random, which is not said.",),
    (
        Claim(
            "“SCC has better results than ICC over every model”",
            _more("table4", [(EVERY, "SCC")], [(EVERY, "ICC")], FALSE),
        ),
        Claim(
            "“SCC on ResNet-50 achieve the best performance across all models”",
            _more("table4", [("ResNet-50", "SCC")] * 2, [(m, "SCC") for m in MODELS[1:]], FALSE),
        ),
    ),
)

TABLE_5 = Printed(
    "table5",
    "Table 5: IoU gain (%) of different clusters",
    ("Cluster Nb.",),
    EMBEDDINGS,
    (
        (("160",), "160", "+17.01 +22.20 +19.94 +20.11"),
        (("165",), "165", "+18.11 +22.84 +17.48 +25.77"),
        (("167",), "167", "+18.44 +23.42 +18.03 +26.05"),
        (("168",), "168", "+21.78 +23.15 +17.80 +26.31"),
        (("169",), "169", "+20.72 +22.84 +23.86 +26.01"),
        (("170",), "170", "+20.90 +23.22 +22.35 +25.36"),
        (("175",), "175", "+21.27 +23.88 +21.74 +22.47"),
        (("180",), "180", "+25.29 +23.07 +23.04 +22.63"),
        (("185",), "185", "+24.10 +23.34 +22.49 +22.32"),
    ),
    (
        "The paper's published result file has +19.66 % for all four embeddings where nothing is "
        "merged (320 groups), so its figures are not (B − A) / A as its text defines it, which is "
        "what ours are (docs/filtering.md).",
    ),
    (
        Claim(
            "Fusing “leads to significant performance enhancement across all methods” (gain "
            "above 0)",
            tuple((("table5", (str(k),), e), 0.0) for k in GROUPS for e in EMBEDDINGS),
        ),
        Claim(
            "“TransE outperforms others” (at the same number of groups)",
            tuple(
                (("table5", (str(k),), "TransE"), ("table5", (str(k),), e))
                for k in GROUPS
                for e in EMBEDDINGS[:3]
            ),
        ),
    ),
)

TABLE_6 = Printed(
    "table6",
    "Table 6: Results of PE",
    ("Method",),
    ("ADE20k", "Opensurfaces"),
    (
        ((NETWORK,), "ResNet18", "52.96 29.26"),
        (("SVM (SCC)",), "SVM (SCC)", "66.54 31.62"),
        (("SVM (ICC)",), "SVM (ICC)", "67.11 32.27"),
    ),
    (
        "Accuracy (%). SVM on the metrics CM, SM and DM, the MRR and the hidden state; LC(x) from "
        "the masks of the photo itself, which the network does not need.",
    ),
    (
        Claim(
            "“The results are improved for SCC and ICC on both datasets”",
            _more(
                "table6",
                [("SVM (SCC)",), ("SVM (ICC)",)],
                [(NETWORK,)] * 2,
                ("ADE20k", "Opensurfaces"),
            ),
        ),
        Claim(
            "ICC above SCC",
            _more("table6", [("SVM (ICC)",)], [("SVM (SCC)",)], ("ADE20k", "Opensurfaces")),
        ),
        Claim(
            "not in the paper: SCC and ICC above an SVM on the masks alone",
            _more(
                "table6",
                [("SVM (SCC)",), ("SVM (ICC)",)],
                [(MASKS_ALONE,)] * 2,
                ("ADE20k", "Opensurfaces"),
            ),
        ),
        Claim(
            "not in the paper: without masks of the test photo, SCC and ICC above an SVM on the "
            "hidden state alone",
            _more(
                "table6",
                [(f"SVM (SCC){UNMASKED}",), (f"SVM (ICC){UNMASKED}",)],
                [(HIDDEN_ALONE,)] * 2,
                ("ADE20k", "Opensurfaces"),
            ),
        ),
    ),
)

SHOWN_K = (1, 5, 10, 15, 20)
"""Numbers of disabled units that are shown of a curve; the files hold every one that was made."""


def _disabling(key: str, title: str) -> Printed:
    last, own = f"k = {SHOWN_K[-1]}", [f"k = {k}" for k in SHOWN_K]
    return Printed(
        key,
        title,
        ("protocol", "units disabled", "chosen by"),
        tuple(own),
        (),
        (
            "Change of accuracy in points, by the number k of disabled units. The paper draws "
            "curves without numbers; its text has one: “the results have improved about 1.3% by "
            "removing the negative neurons” (ResNet18, Figures 3 and 4; whether by SCC or ICC, at "
            "which k, and whether in points is not said; beside it the better of both at k = 20).",
            "Protocol paper: units are chosen by the true scene and disabled only in images known "
            "to be right (positive units, which can only lose) or wrong (negative units, which can "
            "only win).",
        ),
        (
            Claim(
                "“when negative (resp. positive) neurons are disabled, the model performance is "
                "improved (resp. decreases)”",
                tuple(
                    pair
                    for k in ("SCC", "ICC")
                    for pair in (
                        ((key, ("paper", "negative", k), last), 0.0),
                        (0.0, (key, ("paper", "positive", k), last)),
                    )
                ),
            ),
            Claim(
                "“model accuracy tends to decrease as the number of inhibitory positive neurons "
                "increases”",
                tuple(
                    ((key, ("paper", "positive", k), a), (key, ("paper", "positive", k), b))
                    for k in ("SCC", "ICC")
                    for a, b in pairwise(own)
                ),
            ),
            Claim(
                "“compared to SCC, ICC can better identify both the positive and negative neurons”",
                (
                    (
                        (key, ("paper", "negative", "ICC"), last),
                        (key, ("paper", "negative", "SCC"), last),
                    ),
                    (
                        (key, ("paper", "positive", "SCC"), last),
                        (key, ("paper", "positive", "ICC"), last),
                    ),
                ),
            ),
            Claim(
                "not in the paper: negative units by SCC and ICC win more than as many drawn at "
                "random, positive ones lose more",
                tuple(
                    pair
                    for k in ("SCC", "ICC")
                    for pair in (
                        (
                            (key, ("paper", "negative", k), last),
                            (key, ("paper", "negative", "random units"), last),
                        ),
                        (
                            (key, ("paper", "positive", "random units"), last),
                            (key, ("paper", "positive", k), last),
                        ),
                    )
                ),
            ),
        ),
    )


FIGURE_3 = _disabling("figure3", "Figure 3: Results on ADE20k (disabling units)")
FIGURE_4 = _disabling("figure4", "Figure 4: Results on Opensurface (disabling units)")

IN_WORDS: dict[str, dict[tuple[tuple[str, ...], str], float]] = {
    "figure3": {(DISABLED, f"k = {SHOWN_K[-1]}"): 1.3},
    "figure4": {(DISABLED, f"k = {SHOWN_K[-1]}"): 1.3},
    "figure5": {((NETWORK, BETTER), "over the original"): 3.27},
}
"""What the text says of figures that are only drawn, in percent."""

QUOTES = {
    "figure3": "the results have improved about 1.3% by removing the negative neurons",
    "figure4": "the results have improved about 1.3% by removing the negative neurons",
    "figure5": "the corresponding performance of ResNet18 has improved 3.27%",
}
"""Where :data:`IN_WORDS` stands in the text."""

FIGURE_5 = Printed(
    "figure5",
    "Figure 5: Model re-training via CC",
    ("model", "method"),
    ("accuracy", "over the original", "over the control"),
    (),
    (
        "Accuracy, and gains in points. The paper draws bars without numbers; its text has one: "
        "“the corresponding performance of ResNet18 has improved 3.27%”. It has no control: the "
        "same training without L_c, which is what core concepts must be compared with.",
    ),
    (
        Claim(
            "“the results by adding ICC are all improved”, over the original network",
            ((("figure5", (EVERY, "ICC"), "over the original"), 0.0),),
        ),
        Claim(
            "not in the paper: ICC is better than the same training without L_c",
            ((("figure5", (EVERY, "ICC"), "over the control"), 0.0),),
        ),
        Claim(
            "“Compared to SCC, utilizing the ICC for re-training model is more effective”",
            _more("figure5", [(EVERY, "ICC")], [(EVERY, "SCC")], ("accuracy",)),
        ),
    ),
)

PARTS = {
    one.key: one
    for one in (TABLE_1, TABLE_2, TABLE_3, TABLE_4, TABLE_5, TABLE_6, FIGURE_3, FIGURE_4, FIGURE_5)
}
"""Every table and figure of the paper's experiments, by key."""


def chosen(names: Sequence[str]) -> list[str]:
    """Keys in the paper's order; all where none is named. Raises for one there is not.

    >>> chosen(["Figure 3", "table1"])
    ['table1', 'figure3']
    """
    wanted = [name.strip().lower().replace(" ", "").replace("_", "") for name in names]
    for name in wanted:
        if name not in PARTS:
            raise unknown("table or figure", name, PARTS)
    return [key for key in PARTS if key in wanted or not wanted]


def printed(key: str) -> dict[tuple[tuple[str, ...], str], float]:
    """(row labels, column) → the paper's figure, printed or said in words."""
    return {**PARTS[key].cells, **IN_WORDS.get(key, {})}
