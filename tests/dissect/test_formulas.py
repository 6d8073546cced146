"""Formula search against all formulas, each evaluated on sets of pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dissect.formula import AND, NOT, OR, Formula
from core.dissect.formula_search import Search, Sizes, beam_search, optimal_search, search_units
from core.dissect.formulas import formula_table, unit_formulas
from core.dissect.signatures import Signatures
from core.foundation.errors import UnitscopeError


def drawn(seed: int, concepts: int = 5, pixels: int = 60, slots: int = 2, units: int = 2):
    """A dataset of single pixels with random labels: (signatures, sets of pixels as integers)."""
    rng = np.random.default_rng(seed)
    # A long tail, so that some concepts are rare and some signatures frequent.
    share = 1 / np.arange(1, concepts + 2)
    labels = rng.choice(concepts + 1, (pixels, slots), p=share / share.sum()).astype(np.uint16)
    for k in range(1, slots):
        for j in range(k):
            labels[labels[:, k] == labels[:, j], k] = 0
    labels = np.sort(labels, 1)[:, ::-1]
    lit = rng.random((units, pixels)) < rng.uniform(0.1, 0.6)
    lit[0] |= (labels == 1).any(1) & (rng.random(pixels) < 0.7)
    rows, at = np.unique(labels, axis=0, return_inverse=True)
    counts = np.array([np.bincount(at[unit], minlength=len(rows)) for unit in lit])
    which = [np.flatnonzero(row) for row in counts]
    s = Signatures(
        rows,
        np.bincount(at),
        np.cumsum([0, *map(len, which)]),
        np.concatenate(which).astype(np.int32),
        np.concatenate([row[w] for row, w in zip(counts, which, strict=True)]),
        lit.sum(1),
        ["", *(f"c{k}" for k in range(1, concepts + 1))],
        ["", *["object"] * concepts],
    )

    def bits(mask):
        return sum(1 << int(p) for p in np.flatnonzero(mask))

    masks = {c: bits((labels == c).any(1)) for c in range(1, concepts + 1)}
    return s, masks, [bits(unit) for unit in lit]


def mask_of(formula: Formula, masks: dict[int, int]) -> int:
    mask = masks[formula.concepts[0]]
    for op, c in zip(formula.ops[1:], formula.concepts[1:], strict=True):
        mask = {OR: mask | masks[c], AND: mask & masks[c], NOT: mask & ~masks[c]}[op]
    return mask


def iou(a: int, b: int) -> float:
    union = (a | b).bit_count()
    return (a & b).bit_count() / union if union else 0.0


def every_formula(concepts: int, length: int):
    for n in range(1, length + 1):
        for chosen in product(range(1, concepts + 1), repeat=n):
            for ops in product((OR, AND, NOT), repeat=n - 1):
                yield Formula(chosen, (0, *ops))


def brute(masks, unit: int, length: int, penalty: float = 1.0) -> float:
    return max(
        iou(mask_of(f, masks), unit) * penalty ** (f.cost - 1)
        for f in every_formula(len(masks), length)
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3), st.sampled_from([1.0, 0.95, 0.8]))
def test_a_wide_beam_and_the_optimal_search_are_brute_force(seed, length, penalty):
    s, masks, units = drawn(seed, concepts=4, pixels=40)
    for t, unit in enumerate(units):
        best = brute(masks, unit, length, penalty)
        wide = beam_search(s, t, length, beam=100_000, penalty=penalty)
        proven = optimal_search(s, t, length, penalty, beam=1)
        for found in (wide, proven):
            assert found.score == pytest.approx(best, abs=1e-15)
            if found.formula is None:
                assert best == 0
                continue
            mask = mask_of(found.formula, masks)
            assert found.iou == iou(mask, unit)
            assert (found.both, found.area) == ((mask & unit).bit_count(), mask.bit_count())
            assert found.formula.length <= length
        assert proven.proven and wide.proven is None


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000))
def test_longer_formulas_are_proven_too(seed):
    s, masks, units = drawn(seed, concepts=4, pixels=40, slots=3)
    best = brute(masks, units[0], 4)
    found = optimal_search(s, 0, 4, beam=1)
    assert found.proven and found.score == pytest.approx(best, abs=1e-15)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.booleans())
def test_the_beam_is_the_plain_beam(seed, beam, merge):
    """The same search with masks of candidates: best IoUs of every step are kept."""
    s, masks, units = drawn(seed, concepts=6, pixels=80)
    kept = [Formula((c,)) for c in masks]
    unit = units[0]

    def order(f):
        return (-iou(mask_of(f, masks), unit), f.cost, f.concepts, f.ops)

    kept = sorted((f for f in kept if mask_of(f, masks) & unit), key=order)[:beam]
    for _ in range(2):
        pool = list(kept)
        for f in kept:
            for op, c in product((OR, AND, NOT), masks):
                new = f.then(op, c)
                mask = mask_of(new, masks)
                # A formula that another concept does not change is no new one.
                if (merge and mask in (mask_of(f, masks), masks[c])) or not masks[c]:
                    continue
                if mask & unit:
                    pool.append(new)
        distinct = {}
        for f in sorted(pool, key=order):
            distinct.setdefault(f.key() if merge else (f.concepts, f.ops), f)
        kept = list(distinct.values())[:beam]
    found = beam_search(s, 0, 3, beam, merge=merge)
    assert (found.formula, found.iou) == (kept[0], iou(mask_of(kept[0], masks), unit))


def test_keys_join_what_is_the_same_formula():
    for seed in range(20):
        _, masks, _ = drawn(seed, concepts=4)
        by_key: dict = {}
        for f in every_formula(4, 3):
            by_key.setdefault(f.key(), set()).add(mask_of(f, masks))
        assert all(len(found) == 1 for found in by_key.values())


def test_ties_are_named():
    labels = np.array([[1, 0], [2, 0], [3, 0]], np.uint16)
    s = Signatures(
        labels,
        np.array([4, 4, 2]),
        np.array([0, 2]),
        np.array([0, 1], np.int32),
        np.array([2, 2]),
        np.array([4]),
        ["", "a", "b", "c"],
        ["", *["object"] * 3],
    )
    found = beam_search(s, 0, length=1)
    assert found.formula == Formula((1,)) and found.ties == [Formula((2,))]
    assert beam_search(s, 0, 3).formula == Formula((1, 2), (0, OR))


def test_units_are_searched_in_order_and_can_be_stopped():
    s, _, _ = drawn(5, units=6)
    told = []
    every = list(search_units(s, threads=3, progress=told.append))
    assert [f.unit for f in every] == list(range(6)) and told[-1].done == 6
    alone = [beam_search(s, t, sizes=Sizes(s, most=1)) for t in range(6)]
    assert every == alone
    first = []
    for found in search_units(s, stop=lambda: len(first) >= 2):
        first.append(found)
    assert first == every[:2]
    frame = formula_table(s, every)
    assert frame["gain"].min() >= 0 and frame["proven"].isna().all()


def test_a_dark_unit_has_no_formula():
    s, _, _ = drawn(1)
    dark = Signatures(
        s.labels,
        s.pixels,
        np.zeros(2, np.int64),
        np.zeros(0, np.int32),
        np.zeros(0, np.int64),
        np.zeros(1, np.int64),
        s.concepts,
        s.categories,
    )
    found = optimal_search(dark, 0)
    assert found.formula is None and found.score == 0 and found.proven
    assert formula_table(dark, [found])["formula"].isna().all()


def test_a_search_that_is_cut_short_says_what_remains_possible():
    s, masks, units = drawn(11, concepts=6, pixels=200, slots=3)
    found = optimal_search(s, 1, 4, beam=1, most=2)
    assert not found.proven and found.bound >= brute(masks, units[1], 3)


def test_formulas_in_words():
    names = ["", "a", "b", "c", "d"]
    assert Formula((1, 2, 3), (0, OR, OR)).words(names) == "a OR b OR c"
    assert Formula((1, 2, 3), (0, AND, NOT)).words(names) == "a AND b AND NOT c"
    assert Formula((1, 2, 3, 4), (0, OR, AND, OR)).words(names) == "((a OR b) AND c) OR d"


def test_mistakes_are_told():
    s, _, _ = drawn(0)
    with pytest.raises(UnitscopeError, match="1 to 5 concepts"):
        beam_search(s, 0, length=6)
    with pytest.raises(UnitscopeError, match="at least one formula"):
        beam_search(s, 0, beam=0)
    with pytest.raises(UnitscopeError, match="penalty"):
        optimal_search(s, 0, penalty=1.2)
    with pytest.raises(UnitscopeError, match="no unit 7"):
        list(search_units(s, units=[0, 7]))


def test_formulas_of_a_run_are_kept_and_gone_on_with(tiny_run):
    search, kept = Search(length=2, beam=3), tiny_run.path.with_suffix(".derived")
    before = set(kept.glob("formulas-*.jsonl"))
    frame, s = unit_formulas(tiny_run, search=search)
    assert len(frame) == 12 and (frame["iou"] >= frame["label_iou"]).all()
    labels = tiny_run.sql(
        "SELECT unit, max(iou_all) AS iou FROM dataset_iou WHERE layer = 1 GROUP BY unit"
    )
    merged = frame.merge(labels, on="unit")
    assert np.allclose(merged["label_iou"], merged["iou_y"], atol=0)
    (path,) = set(kept.glob("formulas-*.jsonl")) - before
    whole = path.read_text()
    # A search that was killed in the middle of a line.
    path.write_text(whole[: len(whole) // 2])
    again, _ = unit_formulas(tiny_run, search=search)
    assert again.equals(frame) and path.read_text() == whole
    with pytest.raises(UnitscopeError, match="stopped with 0 of 12"):
        unit_formulas(tiny_run, search=Search(length=2, beam=4), stop=lambda: True)
    objects, _ = unit_formulas(tiny_run, search=Search(categories=("object",)), units=[3])
    assert "piece" not in str(objects["formula"][0])
    grouped, _ = unit_formulas(tiny_run, groups={2: 1}, units=[0, 1, 2])
    assert not grouped["formula"].str.contains("thing 2").any()
    with pytest.raises(UnitscopeError, match="concept ids are 1 to"):
        unit_formulas(tiny_run, groups={99: 1})
    with pytest.raises(UnitscopeError, match="unknown category"):
        unit_formulas(tiny_run, search=Search(categories=("objekt",)))


def test_chance_is_the_same_search_on_exchanged_labels(tiny_run):
    from core.dissect.signatures import signatures

    search = Search(length=2)
    frame, _ = unit_formulas(tiny_run, search=search, shuffles=2)
    null = []
    for r in range(2):
        s = signatures(tiny_run, shuffle=r)
        assert s.pixels.sum() == signatures(tiny_run).pixels.sum()
        assert np.array_equal(np.sort(s.areas), np.sort(signatures(tiny_run).areas))
        null += [beam_search(s, t, 2).score for t in range(s.units)]
    for row in frame.itertuples():
        reached = sum(score >= row.score for score in null)
        assert row.chance == (1 + reached) / (1 + len(null))
    with pytest.raises(UnitscopeError, match="0 or more"):
        unit_formulas(tiny_run, shuffles=-1)
