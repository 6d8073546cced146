"""Causes of an answer against a slow re-implementation, photo by photo."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.attribution.account import Question, causes, signed
from core.attribution.case import Case, Opened
from core.attribution.effects import edited, elsewhere, margin_of, measure, open_photo, widened
from core.attribution.fillings import FILLINGS
from core.foundation.errors import UnitscopeError
from core.foundation.files import strict_json
from core.foundation.vocabulary import Standing
from core.knowledge.core_concepts import CoreConcepts

ASKED = Question(fillings=("mean", "blur"), controls=3)


@pytest.fixture(scope="module")
def opened(tiny_run) -> Opened:
    return Opened.of(tiny_run)


@pytest.fixture(scope="module")
def core(tiny_run) -> CoreConcepts:
    """Attics are made of thing 1 and piece 6, barns of thing 2; nobody knows of cellars."""
    table = tiny_run.sql(
        "SELECT name, category FROM concepts WHERE category <> 'scene' ORDER BY concept"
    )
    names = table["name"].tolist()
    members = np.zeros((3, len(names)), bool)
    members[0, [names.index("thing 1"), names.index("piece 6")]] = True
    members[1, names.index("thing 2")] = True
    scenes = ["attic", "barn", "cellar"]
    return CoreConcepts(
        "scc", scenes, names, table["category"].tolist(), members, members * 0.5, [{}, {}, {}]
    )


def photo(opened: Opened, wrong: bool, skip: int = 0) -> Case:
    """One of the photos whose answer is wrong (or right)."""
    recorded = opened.recorded
    told = recorded.logits.argmax(1) != recorded.target
    return opened.case(int(recorded.numbers[np.flatnonzero(told == wrong)[skip]]))


def slowly(case: Case, row: int, filling: str, a: int, b: int) -> tuple[float, list[float], int]:
    """Δ of a region, of three regions elsewhere, and the answer without it; one photo at a time."""
    fill = FILLINGS.row(filling).load()
    mask = widened(case.regions.masks[row], margin_of(case))
    rng = np.random.default_rng([0, case.image, int(case.regions.ids[row])])
    moved = elsewhere(mask, 3, rng)

    def over(picture: np.ndarray) -> tuple[float, int]:
        logits = case.opened.logits(picture[None])[0]
        return float(logits[a]) - float(logits[b]), int(logits.argmax())

    before, _ = over(case.photo)
    gone, answer = over(fill(case.photo, mask, rng))
    return before - gone, [before - over(fill(case.photo, m, rng))[0] for m in moved], answer


@pytest.mark.parametrize("wrong", [True, False])
def test_causes_are_effects_bands_and_standings(opened, core, wrong):
    case = photo(opened, wrong, 2)
    found = causes(case, core, ASKED)
    a, b = opened.classes.index(found.answer), opened.classes.index(found.against)
    assert a == case.predicted and (b == case.target) == wrong and found.correct == (not wrong)
    assert found.margin == pytest.approx(case.logits[a] - case.logits[b])
    assert {row.category for row in found.rows} == {"object"}
    assert [row.effect for row in found.rows] == sorted(
        (r.effect for r in found.rows), reverse=True
    )
    members = {"attic": {"thing 1", "piece 6"}, "barn": {"thing 2"}, "cellar": set()}
    for row in found.rows:
        at = case.regions.ids.tolist().index(row.concept)
        each = [slowly(case, at, filling, a, b) for filling in ASKED.fillings]
        effects = [one[0] for one in each]
        assert row.effect == pytest.approx(np.mean(effects), abs=1e-5)
        assert [row.least, row.most] == pytest.approx([min(effects), max(effects)], abs=1e-5)
        elsewheres = np.mean([one[1] for one in each], 0)
        used = 0
        if len(elsewheres):
            low, high = elsewheres.min(), elsewheres.max()
            assert row.band == pytest.approx((low, high), abs=1e-5)
            used = int(row.effect > max(0, high)) - int(row.effect < min(0, low))
        else:
            assert row.band is None and "too large" in row.no_band
        assert row.speaks == used
        answers = [one[2] for one in each]
        given = opened.classes.index(row.removed.answer)
        assert row.removed.agree == answers.count(given) == max(map(answers.count, answers))
        if given == case.predicted:
            assert row.removed.change == ""
        elif not wrong:
            assert row.removed.change == "breaks"
        else:
            assert row.removed.change == ("mends" if given == case.target else "changes")
        for scene, standing, sign in (
            (found.answer, row.standing_answer, 1),
            (found.against, row.standing_against, -1),
        ):
            if not members[scene]:
                assert standing is None
                continue
            words = (row.name in members[scene], used == sign)
            if row.band is None:
                wanted = Standing.CORE_UNTESTED if words[0] else Standing.UNTESTED
            else:
                wanted = {
                    (True, True): Standing.CORE_USED,
                    (True, False): Standing.CORE_UNUSED,
                    (False, True): Standing.SHORTCUT,
                    (False, False): Standing.NEITHER,
                }[words]
            assert standing == wanted


def test_evidence_of_the_rows_adds_up_and_names_its_units(opened, core):
    case = photo(opened, True)
    found = causes(case, core, Question(fillings=("mean",), controls=0))
    assert abs(found.gap) < 1e-4
    for one in found.sums:
        total = one.concepts + one.rest + found.bias + found.beside
        assert total == pytest.approx(found.margin, abs=1e-4)
    objects = next(one for one in found.sums if one.category == "object")
    assert sum(row.evidence for row in found.rows) == pytest.approx(objects.concepts)
    for row in found.rows:
        shares = [abs(unit.evidence) for unit in row.units]
        assert shares == sorted(shares, reverse=True) and len(shares) <= 5
        assert all(unit.evidence * row.evidence > 0 for unit in row.units)
        assert row.band is None and row.standing_answer in (
            None,
            Standing.CORE_UNTESTED,
            Standing.UNTESTED,
        )


def test_bands_are_measured_for_the_largest_effects_first(opened, core):
    case = photo(opened, True, 3)
    whole = causes(case, core, ASKED)
    some = causes(case, core, Question(fillings=("mean", "blur"), controls=3, tested=1))
    band = [row for row in some.rows if row.band is not None]
    fit = [row for row in whole.rows if row.band is not None]
    largest = max(fit, key=lambda row: abs(row.effect))
    assert [row.concept for row in band] == [largest.concept]
    assert band[0].band == pytest.approx(largest.band, abs=1e-5)
    small = [row for row in some.rows if row.band is None and abs(row.effect) < abs(largest.effect)]
    assert all("not among the 1 largest" in row.no_band for row in small)


def test_any_pair_category_and_absent_core_concepts(opened, core):
    case = photo(opened, True)
    a, b = (opened.classes[k] for k in np.argsort(case.logits)[:2])
    asked = Question(a, b, ("mean",), 0, categories=("part",))
    found = causes(case, core, asked)
    assert (found.answer, found.against) == (a, b) and {r.category for r in found.rows} == {"part"}
    assert "It answered" in found.sentence and found.predicted in found.sentence
    assert (" ahead of " if found.margin >= 0 else " behind ") in found.sentence
    turned = causes(case, core, Question(b, a, ("mean",), 0, categories=("part",)))
    assert {r.concept: r.effect for r in found.rows} == pytest.approx(
        {r.concept: -r.effect for r in turned.rows}
    )
    here = set(case.regions.names)
    side = next((s for s in (*found.sides, *turned.sides) if s.scene == "attic"), None)
    if side is not None:
        assert {one.name: one.present for one in side.core} == {
            name: name in here for name in ("thing 1", "piece 6")
        }
    for wrong, why in (
        (Question(a, a), "against itself"),
        (Question(against="shed"), "unknown class"),
        (Question(categories=("objects",)), "unknown category"),
        (Question(fillings=("grey",)), "filling"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            causes(case, core, wrong)


def test_the_sentence_is_of_the_facts(opened, core):
    """Every number and name in it is that of a row; what is not there is not said."""
    for wrong in (True, False):
        for skip in range(4):
            found = causes(photo(opened, wrong, skip), core, ASKED)
            text = found.sentence
            assert f"It {'' if wrong else 'rightly '}answered {found.predicted}" in text
            carry = [row for row in found.rows if row.speaks > 0]
            for row in sorted(carry, key=lambda r: -r.effect)[:3]:
                assert f"hing {row.name.split()[1]} ({signed(row.effect)})" in text
            assert (" carry it" in text or " carries it" in text) == bool(carry)
            assert (f" for {found.against}." in text) == any(r.speaks < 0 for r in found.rows)
            changed = {row.removed.answer for row in found.rows if row.removed.change}
            told = "Without any one of them" not in text
            assert told == bool(changed)
            assert json.loads(strict_json(found.to_json()))["sentence"] == text


def test_a_photo_without_a_known_scene(opened, core, monkeypatch):
    case = photo(opened, True)
    monkeypatch.setitem(case.opened.recorded.__dict__, "target", np.full(999, -1))
    found = causes(case, core, Question(fillings=("mean",), controls=0))
    second = int(np.argsort(opened.recorded.logits[case.row])[-2])
    assert found.target is None and found.correct is None
    assert found.against == opened.classes[second] and "rightly" not in found.sentence
    assert {row.removed.change for row in found.rows} <= {"", "changes"}


def test_concepts_taken_away_together(opened):
    case = photo(opened, True)
    ids = [int(c) for c in case.regions.ids[:2]]
    both = widened(case.regions.masks[:2].any(0), margin_of(case))
    gone = edited(case, ids, "mean")
    assert (gone[~both] == case.photo[~both]).all()
    assert (gone[both] == case.photo[~both].mean(0).round().astype(np.uint8)).all()
    assert edited(case, [], "mean") is case.photo
    one = edited(case, ids[:1], "mean")
    after = measure(case, ("mean",), 0).after[0, 0]
    assert opened.logits(one[None])[0] == pytest.approx(after, abs=1e-5)
    with pytest.raises(UnitscopeError, match="no concept number 99"):
        edited(case, [99], "mean")
    assert open_photo(opened, opened.recorded.images["id"][case.row]).image == case.image
