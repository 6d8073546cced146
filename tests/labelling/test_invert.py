"""INVERT beside a search that is plain to read, and planted units."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import mannwhitneyu, rankdata

from core.dissect.formula import AND, NOT, OR, Formula
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.labelling import invert
from core.labelling.invert import Best, Presence, Search, auroc, by_auroc, exchanged
from core.labelling.methods import label_units
from core.labelling.probe import open_probe

PHOTOS, CONCEPTS, UNITS = 60, 7, 5
JOIN = {
    OR: lambda a, b: a or b,
    AND: lambda a, b: a and b,
    NOT: lambda a, b: a and not b,
}


@pytest.fixture(scope="module", params=range(3))
def drawn(request) -> tuple[np.ndarray, np.ndarray]:
    """(activations with ties, shown), of which some concepts are of most photos or of few."""
    rng = np.random.default_rng(request.param)
    shown = rng.random((PHOTOS, CONCEPTS)) < np.array([0.9, 0.02, 0.4, 0.3, 0.15, 0.5, 0.1])
    shown[:, 6] |= shown[:, 4]  # one concept within another
    q = np.round(rng.gamma(0.7, size=(PHOTOS, UNITS)), 1)
    q[:, 0] += shown[:, 2] | shown[:, 4]
    q[:, 1] += shown[:, 5] & ~shown[:, 3]
    return q, shown


def slow_auroc(q: np.ndarray, of: np.ndarray) -> float:
    """Every pair of a photo with and a photo without."""
    pairs = [(a > b) + 0.5 * (a == b) for a in q[of] for b in q[~of]]
    return sum(map(float, pairs)) / len(pairs)


def slow_best(q: np.ndarray, shown: np.ndarray, search: Search) -> tuple[Formula | None, float]:
    """The beam search over lists of photos; a formula that is true of as many photos as well is
    not told twice."""
    photos = len(q)

    def fits(of: np.ndarray) -> bool:
        least = max(1, search.photos, search.least * photos)
        return least <= of.sum() <= min(photos - 1, search.most * photos)

    def best(rows: list) -> list:
        rows = sorted(rows, key=lambda row: (-row[0], row[1]))
        chosen: list = []
        for row in rows:
            if all(row[:2] != other[:2] for other in chosen):
                chosen.append(row)
        return chosen[: search.beam]

    beam = []
    for c in range(shown.shape[1]):
        if fits(shown[:, c]):
            beam.append((slow_auroc(q, shown[:, c]), int(shown[:, c].sum()), Formula((c,))))
    beam = best(beam)
    masks = {row[2]: shown[:, row[2].concepts[0]] for row in beam}
    for step in range(1, search.length):
        made = []
        for _, _, formula in beam:
            if formula.length != step:
                continue
            for op, c in itertools.product((OR, AND, NOT), range(shown.shape[1])):
                a, b = masks[formula], shown[:, c]
                of = np.array([JOIN[op](x, y) for x, y in zip(a, b, strict=True)], bool)
                if not fits(of) or (of == a).all() or (op != NOT and (of == b).all()):
                    continue
                longer = formula.then(op, c)
                masks[longer] = of
                made.append((slow_auroc(q, of), int(of.sum()), longer))
        beam = best(beam + made)
    return (beam[0][2], beam[0][0]) if beam else (None, float("nan"))


def found_by(q: np.ndarray, shown: np.ndarray, search: Search) -> list[Best]:
    presence = Presence(sparse.csr_array(shown), np.arange(shown.shape[1]))
    return presence.best(rankdata(q, axis=0), search)


@pytest.mark.parametrize(
    "search",
    [
        Search(1, photos=1),
        Search(3, photos=1, least=0.0),
        Search(3, photos=4),
        Search(3, 1, photos=2),
        Search(4, 3, 0.1, 0.4, 1),
        Search(2, most=1.0, photos=1),
    ],
)
def test_the_search_is_what_it_says(drawn, search):
    q, shown = drawn
    found = found_by(q, shown, search)
    for unit in range(UNITS):
        formula, score = slow_best(q[:, unit], shown, search)
        assert found[unit].auroc == pytest.approx(score, abs=1e-12)
        assert found[unit].formula == formula
        of = np.zeros(PHOTOS, bool)
        for op, c in zip(formula.ops, formula.concepts, strict=True):
            of = np.array([JOIN[op or OR](a, b) for a, b in zip(of, shown[:, c], strict=True)])
        assert found[unit].photos == of.sum()
        single, alone = slow_best(q[:, unit], shown, Search(1, 5, *list(vars(search).values())[2:]))
        assert (found[unit].concept,) == single.concepts
        assert found[unit].concept_auroc == pytest.approx(alone, abs=1e-12)


def test_blocks_of_units_change_nothing(drawn, monkeypatch):
    q, shown = drawn
    whole = found_by(q, shown, Search(photos=1))
    monkeypatch.setattr(invert, "_UNITS", 2)
    assert found_by(q, shown, Search(photos=1)) == whole


def test_auroc_is_of_all_pairs():
    rng = np.random.default_rng(0)
    q, of = rng.integers(0, 5, 40).astype(float), rng.random(40) < 0.3
    ranks = rankdata(q)
    given = auroc(np.array(ranks[of].sum()), np.array(of.sum()), 40)
    assert given == pytest.approx(slow_auroc(q, of))
    u = mannwhitneyu(q[of], q[~of]).statistic
    assert given == pytest.approx(u / (of.sum() * (~of).sum()))
    assert np.isnan(auroc(np.array([820.0, 0.0]), np.array([40, 0]), 40)).all()


@pytest.mark.parametrize(
    ("said", "of"),
    [
        (Formula((2,)), lambda s: s[:, 2]),
        (Formula((2, 5), (0, OR)), lambda s: s[:, 2] | s[:, 5]),
        (Formula((3, 5), (0, AND)), lambda s: s[:, 3] & s[:, 5]),
        (Formula((5, 3), (0, NOT)), lambda s: s[:, 5] & ~s[:, 3]),
    ],
)
def test_planted_formulas_are_found(said, of):
    rng = np.random.default_rng(3)
    shown = rng.random((400, 9)) < 0.25
    q = np.where(of(shown), 1.0, 0.0)[:, None] + rng.normal(0, 0.05, (400, 1))
    (best,) = found_by(q, shown, Search())
    assert best.formula.key() == said.key()
    assert best.auroc == 1


def test_no_formula_where_none_is_in_range(drawn):
    q, shown = drawn
    (best, *_) = found_by(q, shown[:, :2], Search(1, photos=10))
    assert best.formula is None and np.isnan(best.auroc) and best.concept == 0


@pytest.mark.parametrize("search", [Search(0), Search(beam=0), Search(least=0.6), Search(most=2)])
def test_numbers_out_of_range_are_refused(search, drawn):
    with pytest.raises(UnitscopeError, match=r"are searched|lie in 0"):
        found_by(*drawn, search)


# -- labels of a run ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def probe(tiny_run):
    return open_probe(tiny_run, "body.3", ["train"])


@pytest.fixture(scope="module")
def frame(probe):
    return by_auroc(probe, rounds=19)


def test_the_figures_of_a_label_are_those_of_its_formula(probe, frame):
    for row in frame.itertuples():
        ((weight, formula),) = row.terms
        of = probe.formula_presence([formula])[:, 0] > 0
        q = probe.activations[:, row.unit].astype(float)
        assert weight == 1 and of.sum() == row.photos
        assert row.score == pytest.approx(slow_auroc(q, of))
        assert row.p_mann_whitney == pytest.approx(mannwhitneyu(q[of], q[~of]).pvalue)
        assert row.score >= row.concept_auroc > 0.5
    assert frame["label"].str.contains("thing|piece|attic|barn|cellar").all()


def test_the_null_is_that_of_the_best_of_all(probe, frame):
    ranks = rankdata(probe.activations.astype(float), axis=0)
    presence = Presence(probe.presence[:, probe.usable], probe.usable)
    split = probe.images["split"].to_numpy()
    rounds = [
        [one.auroc for one in presence.best(ranks[exchanged(split, n)], Search())]
        for n in range(19)
    ]
    for row in frame.itertuples():
        reached = sum(np.float32(draw[row.unit]) >= np.float32(row.score) for draw in rounds)
        assert row.p_max_null == pytest.approx((1 + reached) / 20)
    assert (frame["adjusted"] >= frame["p_max_null"] - 1e-12).all()


def test_units_at_random_are_sure_by_the_formula_alone_and_not_by_the_best_of_all():
    rng = np.random.default_rng(0)
    shown, q = rng.random((120, 30)) < 0.3, rng.random((120, 30))
    presence = Presence(sparse.csr_array(shown), np.arange(30))
    ranks = rankdata(q, axis=0)
    best = presence.best(ranks, Search(2))
    alone = []
    for unit, one in enumerate(best):
        first, *rest = ((op, shown[:, c]) for c, op in zip(*one.formula, strict=True))
        of = first[1]
        for op, more in rest:
            of = {OR: of | more, AND: of & more, NOT: of & ~more}[op]
        alone.append(mannwhitneyu(q[of, unit], q[~of, unit]).pvalue)
    split = np.array(["train"] * 120)
    null = np.array(
        [
            [one.auroc for one in presence.best(ranks[exchanged(split, n)], Search(2))]
            for n in range(39)
        ]
    )
    of_best = (1 + (null >= [one.auroc for one in best]).sum(0)) / 40
    assert (np.array(alone) < 0.05).mean() > 0.9
    assert (of_best <= 0.05).mean() < 0.2 and 0.3 < of_best.mean() < 0.7


def test_photos_are_exchanged_within_their_split():
    split = np.array(["a", "b", "a", "b", "a", "a"])
    order = exchanged(split, 3)
    assert sorted(order.tolist()) == list(range(6)) and (split[order] == split).all()
    assert (exchanged(split, 3) == order).all() and (exchanged(split, 4) != order).any()


def test_rounds_are_kept_and_resumed(probe, frame):
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    with pytest.raises(Stopped, match="of 40 rounds are done"):
        by_auroc(probe, rounds=40, stop=stop)
    seen = []
    again = by_auroc(probe, rounds=19, stop=lambda: True, progress=lambda at: seen.append(at.done))
    assert again.equals(frame) and seen[-1] == 19


def test_without_rounds_there_is_no_p_value_of_the_maximum(probe, frame):
    bare = by_auroc(probe, rounds=0)
    assert bare["p_max_null"].isna().all() and bare["score"].equals(frame["score"])


def test_single_concepts_are_a_method_of_their_own(probe):
    single = label_units(probe, "invert_single")
    assert all(terms[0][1].length == 1 for terms in single.terms if terms)
    assert single.frame["label"].equals(single.frame["concept"].astype(single.frame["label"].dtype))
    assert not single.unread


def test_categories_limit_what_formulas_name(tiny_run):
    frame = by_auroc(open_probe(tiny_run, "body.1", categories=["scene"]), rounds=0)
    assert frame["label"].isin(["attic", "barn", "cellar"]).mean() > 0.5
    assert not frame["label"].str.contains("thing|piece").any()
    # Every photo shows these.
    with pytest.raises(UnitscopeError, match="no formula of these concepts is true of 10 photos"):
        by_auroc(open_probe(tiny_run, "body.1", categories=["part"]), rounds=0)
