"""What a dictionary keeps of a layer, by plain numbers; answers through it by a hook by hand."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.ablation.recorded import Recorded
from core.ablation.subject import Subject
from core.dictionary.cells import Cells
from core.dictionary.make import make_dictionary
from core.dictionary.measure import NoScenes, kept_of, opened, through
from core.dictionary.stability import directions, drawn, likeness, stability, unit_length
from core.dictionary.train import Recipe
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.models.dictionary import Dictionary, Origin, read_dictionary
from core.models.forward import Forward
from core.models.hooks import as_maps
from core.runs.run_file import derived
from tests.ablation.networks import photo_run, seen_photos
from tests.dictionary.conftest import RECIPE
from tests.models.test_dictionary import drawn as random_dictionary


def test_what_is_kept_equals_plain_numbers():
    made = random_dictionary(5, 9, 2)
    maps = np.random.default_rng(0).standard_normal((70, 5, 2, 2)).astype(np.float32)
    rows = np.arange(3, 70)
    found = kept_of(made, Cells(maps, rows))
    cells = maps[rows].transpose(0, 2, 3, 1).reshape(-1, 5).astype(float)
    codes = made.encode(torch.from_numpy(cells).float()).numpy()
    made_of = codes @ made.decoder.numpy().T + made.decoder_bias.numpy()
    share = ((cells - made_of) ** 2).sum() / ((cells - cells.mean(0)) ** 2).sum()
    assert abs(found.explained.value - (1 - share)) < 1e-5
    assert found.explained.low < found.explained.value < found.explained.high
    assert abs(found.active.value - (codes > 0).sum(1).mean()) < 1e-9
    assert found.active.low <= found.active.value <= found.active.high
    np.testing.assert_allclose(found.activity.numpy(), (codes > 0).mean(0), atol=1e-6)
    assert found.silent == int(((codes > 0).sum(0) == 0).sum())
    assert (found.photos, found.cells) == (67, 268)


def by_hand(run, layer: str, replace) -> np.ndarray:
    """Answers of the whole network, with every cell of the layer replaced."""
    model = open_model(run)

    def hook(_module, _args, output):
        fresh = output.clone()
        view = as_maps(fresh, layer, (24, 24))
        view.copy_(replace(view))
        return fresh

    model.module.get_submodule(layer).register_forward_hook(hook)
    with torch.inference_mode():
        inputs = Forward(model, []).inputs(seen_photos(run))
        return model.module(inputs).argmax(1).numpy()


@pytest.mark.parametrize(
    ("spec", "layer", "units", "method"),
    [
        ("python:tests.tiny:net", "body.3", 12, "replayed tail"),
        ("python:tests.ablation.networks:inner", "inside", 8, "whole forward"),
        ("python:tests.models.test_dictionary:tokens", "blocks.0", 16, "whole forward"),
    ],
)
@pytest.mark.slow
def test_answers_through_it_equal_a_hook_by_hand(tmp_path, spec, layer, units, method):
    run = photo_run(tmp_path, spec, (layer,), map_type="float32")
    made = random_dictionary(units, 2 * units, 3)
    subject = opened(run, layer)
    assert isinstance(subject, Subject)
    rows = np.arange(4, len(subject.recorded.images))
    found = through(subject, made, rows)
    assert found.method == method
    target = subject.recorded.target[rows]

    def decoded(maps):
        return made.decode(made.encode(maps.movedim(1, -1))).movedim(-1, 1)

    plain = np.asarray(run.array("logits")).argmax(1)[rows]
    passed = by_hand(run, layer, decoded)[rows]
    empty = by_hand(run, layer, lambda maps: made.decoder_bias[:, None, None].expand_as(maps))[rows]
    assert found.plain.right == (plain == target).sum()
    assert found.through.right == (passed == target).sum()
    assert found.empty.right == (empty == target).sum()
    assert found.same.right == (plain == passed).sum()
    assert layer != "inside" or found.same.right < len(rows)
    gained = ((passed == target) & (plain != target)).sum()
    assert found.change.gained == gained and found.plain.n == len(rows)
    assert found.to_json()["through"]["right"] == found.through.right


def test_photos_of_unknown_scenes_are_not_scored(tiny_run):
    recorded = Recorded.of(tiny_run, "body.3")
    recorded.__dict__["target"] = np.full(150, -1, np.int32)
    with pytest.raises(NoScenes):
        through(Subject.of(recorded), random_dictionary(12, 12, 2), np.arange(10))


# -- made of a run --------------------------------------------------------------------------


def test_the_file_says_what_was_done(tiny_run, dictionary_file):
    made = read_dictionary(dictionary_file)
    origin = made.origin
    assert origin.network == tiny_run.settings.model.digest and origin.layer == "body.3"
    assert (origin.run, origin.spec) == (tiny_run.digest, tiny_run.settings.model.spec)
    assert origin.training["splits"] == ["train"] and origin.training["photos"] == 75
    held = origin.measured
    assert held["splits"] == ["test"] and held["photos"] == 75
    assert origin.training["explained"][0] > held["explained"][0] - 0.2 > 0.2
    maps = np.asarray(tiny_run.array("maps-body.3"), np.float32)
    test = tiny_run.sql("SELECT image FROM images WHERE split = 'test' ORDER BY image")["image"]
    again = kept_of(made, Cells(maps, test.to_numpy()))
    assert list(again.explained) == pytest.approx(held["explained"])
    assert held["accuracy"]["plain"]["n"] == 75
    train = Cells(maps, np.setdiff1d(np.arange(150), test))
    assert made.activity is not None
    torch.testing.assert_close(kept_of(made, train).activity, made.activity)


def test_a_kept_one_is_read_and_a_stopped_one_goes_on(tiny_run, dictionary_file):
    calls = []
    again = make_dictionary(tiny_run, "body.3", RECIPE, progress=calls.append)
    assert not calls and again.digest() == read_dictionary(dictionary_file).digest()
    recipe = Recipe(features=20, k=3, steps=80, batch=64, seed=9)
    with pytest.raises(Stopped):
        make_dictionary(
            tiny_run, "body.3", recipe, progress=calls.append, stop=lambda: len(calls) > 30
        )
    seen: list = []
    made = make_dictionary(tiny_run, "body.3", recipe, progress=seen.append)
    assert seen[0].done == 30
    folder = derived(tiny_run, "x", {}, "y").parent
    assert not [p for p in folder.iterdir() if p.suffix in (".partial", ".lock")]
    for path in folder.glob("dictionary-*.pt"):
        if read_dictionary(path).origin.training["seed"] == 9:
            path.write_bytes(b"cut short")  # damaged: made anew, and the same
    anew = make_dictionary(tiny_run, "body.3", recipe)
    assert anew.digest() == made.digest() and anew.origin == made.origin


def test_splits_and_maps_must_be_there(tiny_run, tmp_path):
    with pytest.raises(UnitscopeError, match="features learned from split 'train'"):
        make_dictionary(tiny_run, "body.3", RECIPE, ["train"], ["train"])
    with pytest.raises(UnitscopeError, match="unknown split 'night'"):
        make_dictionary(tiny_run, "body.3", RECIPE, ["night"])
    with pytest.raises(UnitscopeError, match=r"unknown layer of this run 'body.9'"):
        make_dictionary(tiny_run, "body.9", RECIPE)
    run = photo_run(tmp_path, "python:tests.tiny:net", ("body.3",), keep_maps=False)
    with pytest.raises(UnitscopeError, match="kept no maps"):
        make_dictionary(run, recipe=RECIPE)


# -- stability ------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**16), n=st.integers(1, 5), m=st.integers(1, 5))
def test_likeness_is_that_of_the_best_of_all_matchings(seed, n, m):
    rng = np.random.default_rng(seed)
    a, b = (unit_length(rng.standard_normal((rows, 3))) for rows in (n, m))
    few, many = (a, b) if n <= m else (b, a)
    best = max(
        np.mean([few[k] @ many[j] for k, j in enumerate(chosen)])
        for chosen in permutations(range(len(many)), len(few))
    )
    found = likeness(a, b)
    assert found.matched == pytest.approx(best)
    assert found.nearest == pytest.approx(np.mean([max(x @ y for y in b) for x in a]))
    assert likeness(a, a) == pytest.approx((1.0, 1.0, 1.0))


def made_of(rows: np.ndarray, layer: str = "layer4", activity=None) -> Dictionary:
    columns = torch.from_numpy(rows.T.copy()).float()
    return Dictionary(
        columns.T.contiguous(),
        torch.zeros(len(rows)),
        columns,
        torch.zeros(rows.shape[1]),
        1,
        activity,
        Origin("ab" * 32, layer),
    )


def test_stability_beside_its_controls():
    rng = np.random.default_rng(0)
    rows = np.abs(rng.standard_normal((60, 20)))
    near = rows[rng.permutation(60)] + 0.05 * rng.standard_normal((60, 20))
    other = np.abs(rng.standard_normal((60, 20)))
    frame = stability([made_of(rows), made_of(3 * near), made_of(other)], ["a", "b", "c"])
    assert frame[["first", "second"]].to_numpy().tolist() == [["a", "b"], ["a", "c"], ["b", "c"]]
    close, apart = frame.iloc[0], frame.iloc[1]
    assert close["matched"] > 0.98 and close["same"] == 1.0
    # Unrelated directions of one corner are as alike as those that are drawn so, and far more
    # than directions drawn from everywhere.
    assert apart["matched"] == pytest.approx(apart["alike_matched"], abs=0.03)
    assert apart["random_matched"] < apart["alike_matched"] - 0.1
    assert apart["same"] < 0.2


def test_drawn_directions_have_the_mean_and_covariance_of_what_they_are_like():
    rng = np.random.default_rng(1)
    like = unit_length(np.abs(rng.standard_normal((4000, 3))) @ rng.standard_normal((3, 6)) + 1)
    again = drawn(like, True, 0)
    np.testing.assert_allclose(again.mean(0), like.mean(0), atol=0.03)
    np.testing.assert_allclose(np.cov(again.T), np.cov(like.T), atol=0.02)
    assert abs(drawn(like, False, 0).mean(0)).max() < 0.03
    np.testing.assert_array_equal(again, drawn(like, True, 0))


def test_dead_features_are_not_compared():
    rows = unit_length(np.random.default_rng(0).standard_normal((6, 4)))
    activity = torch.tensor([0.1, 0.0, 0.2, 0.0, 0.3, 0.4])
    assert directions(made_of(rows, activity=activity)).shape == (4, 4)
    dead = made_of(rows, activity=torch.zeros(6))
    with pytest.raises(UnitscopeError, match="b has no feature that was active"):
        stability([made_of(rows), dead], ["a", "b"])
    with pytest.raises(UnitscopeError, match="b is of layer3 of a network"):
        stability([made_of(rows), made_of(rows, "layer3")], ["a", "b"])
    with pytest.raises(UnitscopeError, match="two dictionaries or more"):
        stability([made_of(rows)], ["a"])
