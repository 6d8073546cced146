"""Training of dictionaries: the loss by loops, the same bytes, stopping, dead features, atoms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dictionary.cells import Cells
from core.dictionary.stability import directions, likeness
from core.dictionary.train import (
    AUX_WEIGHT,
    Recipe,
    Training,
    Weights,
    aux_features,
    fit,
    geometric_median,
    losses,
)
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from tests.dictionary.worlds import planted

SMALL = Recipe(features=24, k=3, steps=60, batch=32)


@pytest.fixture(scope="module")
def cells() -> Cells:
    return Cells.of(planted(40, 12, 20, 3)[1])


def same(a: Weights, b: Weights) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# -- cells ----------------------------------------------------------------------------------


def test_every_cell_comes_once_an_epoch(monkeypatch):
    maps = np.arange(10 * 2 * 3 * 2, dtype=np.float32).reshape(10, 2, 3, 2)
    cells = Cells(maps, np.array([7, 2, 5, 9]))
    wanted = maps[[2, 5, 7, 9]].transpose(0, 2, 3, 1).reshape(-1, 2)
    for pool in (2**18, 13):  # all photos at once, or two at a time
        monkeypatch.setattr("core.dictionary.cells.POOL", pool)
        batches = list(cells.batches(5, 0, 0))
        assert len(batches) == cells.batch_count(5)
        got = torch.cat(batches).numpy()
        assert sorted(map(tuple, got)) == sorted(map(tuple, wanted))
        assert not np.array_equal(got, torch.cat(list(cells.batches(5, 0, 1))).numpy())
    read = torch.cat([part for _, part in cells.shards()])
    np.testing.assert_array_equal(read.reshape(-1, 2).numpy(), wanted)
    assert len(cells) == 24 and cells.sample(7, 0).shape == (7, 2)


def test_cells_that_are_no_numbers_are_refused():
    maps = np.ones((3, 2, 1, 1), np.float16)
    maps[1, 0] = np.nan
    with pytest.raises(UnitscopeError, match="no finite number"):
        fit(Cells.of(maps), SMALL)
    with pytest.raises(UnitscopeError, match="all cells are alike"):
        fit(Cells.of(np.ones((3, 2, 1, 1), np.float16)), SMALL)
    with pytest.raises(UnitscopeError, match="no photo is meant"):
        Cells(maps, np.zeros(0, int))


def test_recipes_that_cannot_be_followed_are_refused():
    for wrong, said in (
        ({"k": 0}, "k is 0"),
        ({"k": 25}, "of 24 features, 1 to 24"),
        ({"steps": 0}, "steps and batch"),
        ({"rate": 2.0}, "learning rate is 2.0"),
    ):
        with pytest.raises(UnitscopeError, match=said):
            Recipe(**{"features": 24, "k": 3, **wrong})


# -- the loss -------------------------------------------------------------------------------


def slow_losses(
    weights: Weights, cells: np.ndarray, k: int, dead: np.ndarray, total: float
) -> tuple[float, float]:
    """Both losses, cell by cell and feature by feature."""
    encoder, offsets, rows, bias = (part.detach().numpy().astype(float) for part in weights)
    main, wrong, left_over = 0.0, 0.0, 0.0
    for cell in cells.astype(float):
        values = [float(encoder[f] @ (cell - bias) + offsets[f]) for f in range(len(encoder))]
        best = sorted(range(len(values)), key=lambda f: -values[f])[:k]
        made = bias + sum((max(values[f], 0.0) * rows[f] for f in best), np.zeros(len(bias)))
        error = cell - made
        main += float(error @ error)
        asleep = [f for f in range(len(values)) if dead[f]]
        few = sorted(asleep, key=lambda f: -values[f])[: aux_features(len(bias))]
        guess = sum((max(values[f], 0.0) * rows[f] for f in few), np.zeros(len(bias)))
        wrong += float((error - guess) @ (error - guess))
        left_over += float(error @ error)
    return main / len(cells) / total, wrong / left_over if dead.any() else 0.0


@settings(deadline=None)
@given(seed=st.integers(0, 2**16), k=st.integers(1, 5), asleep=st.integers(0, 6))
def test_losses_equal_plain_loops(seed, k, asleep):
    random = torch.Generator().manual_seed(seed)
    weights = Weights(
        *(torch.randn(shape, generator=random) for shape in ((7, 4), (7,), (7, 4), (4,)))
    )
    cells, dead = torch.randn(9, 4, generator=random), torch.arange(7) < asleep
    main, aux, active = losses(weights, cells, k, dead, 2.5)
    wanted = slow_losses(weights, cells.numpy(), k, dead.numpy(), 2.5)
    np.testing.assert_allclose([float(main), float(aux)], wanted, rtol=1e-5)
    assert active.shape == (9, k)


@pytest.mark.parametrize("gathered", [2**26, 0])
def test_the_gradient_is_that_of_the_dense_loss(monkeypatch, gathered):
    """Only active features are computed with; the gradient must not depend on that."""
    monkeypatch.setattr("core.dictionary.train.SPARSE", gathered)
    random = torch.Generator().manual_seed(1)
    shapes = ((9, 4), (9,), (9, 4), (4,))
    plain = [torch.randn(shape, generator=random) for shape in shapes]
    cells, dead = torch.randn(20, 4, generator=random), torch.arange(9) > 6

    def gradients(dense: bool) -> list[torch.Tensor]:
        weights = Weights(*(part.clone().requires_grad_() for part in plain))
        if dense:
            encoder, offsets, rows, bias = weights
            before = (cells - bias) @ encoder.T + offsets
            kept = before >= before.topk(3, dim=1).values[:, -1:]
            made = (before.relu() * kept) @ rows + bias
            error = (cells - made).detach()
            guess = before[:, dead].relu() @ rows[dead]
            loss = (cells - made).square().sum(1).mean() / 3
            loss = loss + AUX_WEIGHT * (error - guess).square().sum(1).mean() / (
                error.square().sum(1).mean()
            )
        else:
            main, aux, _ = losses(weights, cells, 3, dead, 3.0)
            loss = main + AUX_WEIGHT * aux
        loss.backward()
        return [part.grad for part in weights if part.grad is not None]

    for sparse, dense in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-5)


def test_the_geometric_median_is_a_minimum():
    points = torch.from_numpy(np.random.default_rng(0).exponential(1, (200, 3))).float()
    found = geometric_median(points)

    def far(point: torch.Tensor) -> float:
        return float((points - point).norm(dim=1).sum())

    for step in torch.eye(3):
        for sign in (0.02, -0.02):
            assert far(found) <= far(found + sign * step)
    assert far(found) < far(points.mean(0))


# -- the course -----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_seed_gives_the_same_bytes_on_any_number_of_threads(cells):
    before = torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made.append(fit(cells, SMALL).weights)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(made[0], made[1]) and same(made[0], made[2])
    other = fit(cells, Recipe(features=24, k=3, steps=60, batch=32, seed=1)).weights
    assert not same(made[0], other)


@pytest.mark.parametrize("after", [0, 1, 12, 41, 59])
def test_a_stopped_training_goes_on_to_the_same_bytes(cells, tmp_path, after):
    wanted = fit(cells, SMALL)
    kept, asked, seen = tmp_path / "state", [0], []

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > after

    with pytest.raises(Stopped):
        fit(cells, SMALL, kept, stop=stop)
    again = fit(cells, SMALL, kept, progress=lambda p: seen.append(p.done))
    assert same(again.weights, wanted.weights) and torch.equal(again.quiet, wanted.quiet)
    assert seen[0] == after and seen[-1] == SMALL.steps


def test_a_damaged_state_is_begun_anew(cells, tmp_path):
    wanted, kept = fit(cells, SMALL).weights, tmp_path / "state"
    for damage in (b"", b"not a state"):
        kept.write_bytes(damage)
        assert same(fit(cells, SMALL, kept).weights, wanted)
    torch.save({"weights": [torch.zeros(2)], "adam": {}, "quiet": torch.zeros(2), "step": 3}, kept)
    assert same(fit(cells, SMALL, kept).weights, wanted)


def test_directions_stay_of_length_1_and_the_rate_falls(cells):
    training = fit(cells, SMALL)
    lengths = training.weights.directions.norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(24))
    rates = [SMALL.rate_at(step) for step in range(SMALL.steps)]
    assert rates[0] == rates[47] and 0 < rates[-1] < rates[50] < rates[0]
    columns = training.dictionary().decoder.norm(dim=0)
    torch.testing.assert_close(columns, torch.ones(24))


def test_what_is_learned_is_of_cells_as_they_are(cells):
    """The scale of the training is folded into the biases."""
    training = fit(cells, SMALL)
    made = training.dictionary()
    batch = next(cells.batches(32, 5, 0))
    encoder, offsets, rows, bias = (part.detach() for part in training.weights)
    before = (batch / training.scale - bias) @ encoder.T + offsets
    kept = before >= before.topk(3, dim=1).values[:, -1:]
    wanted = training.scale * (before.relu() * kept)
    torch.testing.assert_close(made.encode(batch), wanted, rtol=1e-4, atol=1e-4)
    made_of = training.scale * (wanted / training.scale @ rows + bias)
    torch.testing.assert_close(made.decode(wanted), made_of, rtol=1e-4, atol=1e-4)


def test_a_training_that_diverges_says_so(cells):
    training = Training(cells, SMALL)
    with pytest.raises(UnitscopeError, match=r"diverged at step 0.*--rate"):
        training.advance(torch.full((4, 12), 1e30))


@pytest.mark.slow
def test_the_auxiliary_loss_wakes_dead_features(cells, monkeypatch):
    """Of features that begin where hardly a cell activates them."""

    def asleep(weight: float) -> int:
        monkeypatch.setattr("core.dictionary.train.AUX_WEIGHT", weight)
        training = Training(cells, Recipe(features=24, k=3, steps=600, batch=64))
        with torch.no_grad():
            training.weights.encoder_bias[:8] = -0.7
        for batch in training.batches():
            training.advance(batch)
        return int(training.dead[:8].sum())

    assert asleep(0.0) >= asleep(AUX_WEIGHT) + 3


@pytest.mark.slow
def test_planted_atoms_are_found():
    atoms, maps = planted(300, 24, 40, 4)
    found = fit(Cells.of(maps), Recipe(features=40, k=4, steps=1500, batch=128, seed=2))
    like = likeness(atoms, directions(found.dictionary()))
    assert like.same > 0.9 and like.matched > 0.93
    begun = likeness(
        atoms, Training(Cells.of(maps), Recipe(40, 4)).weights.directions.detach().numpy()
    )
    assert begun.same < 0.1
