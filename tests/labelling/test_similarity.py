"""The similarities of CLIP-Dissect beside loops that are plain to read."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.labelling import similarity
from core.labelling.similarity import (
    SIMILARITIES,
    Cosines,
    cosine,
    cosine_cubed,
    cosines,
    rank_reorder,
    soft_wpmi,
    top_images,
    wpmi,
)

IMAGES, UNITS, WORDS = 131, 7, 23


@pytest.fixture(scope="module")
def tables() -> tuple[np.ndarray, np.ndarray]:
    """Q with ties and a unit that is always 0, P as cosines of photos and words are."""
    rng = np.random.default_rng(5)
    q = rng.gamma(0.5, size=(IMAGES, UNITS)).astype(np.float32)
    q[q < 0.1] = 0
    q[:, 3] = 0
    return q, rng.normal(0.22, 0.05, (IMAGES, WORDS))


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [power / sum(powers) for power in powers]


def top_of(column: np.ndarray, count: int) -> list[int]:
    return sorted(range(len(column)), key=lambda k: (-float(column[k]), k))[:count]


def mutual(given: np.ndarray, prior: float) -> np.ndarray:
    out = np.zeros_like(given)
    for j in range(given.shape[1]):
        largest = max(given[:, j])
        mean = sum(math.exp(g - largest) for g in given[:, j]) / len(given)
        out[:, j] = given[:, j] - prior * (largest + math.log(mean))
    return out


def slow_soft(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Notes 4.1, term by term."""
    sure = [0.998 - r / 100 * (0.998 - 0.97) for r in range(100)]
    soft = [softmax([10 * v for v in row]) for row in p]
    given = np.zeros((q.shape[1], p.shape[1]))
    for k in range(q.shape[1]):
        for r, image in enumerate(top_of(q[:, k], 100)):
            for j in range(p.shape[1]):
                given[k, j] += math.log(1 + sure[r] * (soft[image][j] - 1) + 1e-7)
    return mutual(given, 1.0)


def slow_wpmi(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    soft = [softmax([2 * v for v in row]) for row in p]
    given = np.zeros((q.shape[1], p.shape[1]))
    for k in range(q.shape[1]):
        for image in top_of(q[:, k], 28):
            for j in range(p.shape[1]):
                given[k, j] += math.log(soft[image][j] + 1e-7)
    return mutual(given, 0.6)


def slow_cosine(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    out = np.zeros((q.shape[1], p.shape[1]))
    for k in range(q.shape[1]):
        for j in range(p.shape[1]):
            a, b = q[:, k].astype(float), p[:, j]
            size = math.sqrt(sum(a * a)) * math.sqrt(sum(b * b))
            out[k, j] = sum(a * b) / size if size else 0.0
    return out


def slow_cubed(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    out = np.zeros((q.shape[1], p.shape[1]))
    for k in range(q.shape[1]):
        a = (q[:, k].astype(float) - q[:, k].astype(float).mean()) ** 3
        for j in range(p.shape[1]):
            b = (p[:, j] - p[:, j].mean()) ** 3
            out[k, j] = sum(a * b) / max(1e-3, np.sqrt(sum(a * a))) / max(1e-3, np.sqrt(sum(b * b)))
    return out


def slow_rank(q: np.ndarray, p: np.ndarray) -> np.ndarray:
    top = int(len(q) * 0.05)
    out = np.zeros((q.shape[1], p.shape[1]))
    for k in range(q.shape[1]):
        images = top_of(q[:, k], top)
        own = [float(q[image, k]) for image in images]
        rng = np.random.default_rng([0, k])
        by_chance = np.mean(
            [
                sum(abs(a - b) ** 3 for a, b in zip(own, rng.permutation(own), strict=True)) / top
                for _ in range(5)
            ]
        )
        if by_chance == 0:
            continue
        for j in range(p.shape[1]):
            near = [p[image, j] for image in images]
            rank = [sum(other < value for other in near) for value in near]
            reordered = [sorted(own)[r] for r in rank]
            error = sum(abs(a - b) ** 3 for a, b in zip(own, reordered, strict=True)) / top
            out[k, j] = -error / by_chance / (sum(near) / top) ** 0.5
    return out


SLOW = {
    "softwpmi": slow_soft,
    "wpmi": slow_wpmi,
    "cosine": slow_cosine,
    "cubed": slow_cubed,
    "rank": slow_rank,
}


@pytest.mark.parametrize("name", SIMILARITIES)
def test_each_is_what_its_definition_says(tables, name):
    q, p = tables
    found = SIMILARITIES[name](q, p)
    assert found.shape == (UNITS, WORDS) and np.isfinite(found).all()
    np.testing.assert_allclose(found, SLOW[name](q, p), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_blocks_of_words_change_nothing(tables, name, monkeypatch):
    q, p = tables
    whole = SIMILARITIES[name](q, p)
    monkeypatch.setattr(similarity, "MEMORY", 8 * IMAGES * 4)
    seen: list[int] = []
    blocks = SIMILARITIES[name](q, p, progress=lambda at: seen.append(at.done))
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-11)
    assert seen[-1] == WORDS and len(seen) >= 7


def test_features_are_as_good_as_their_cosines(tables):
    rng = np.random.default_rng(0)
    images, words = rng.normal(size=(IMAGES, 9)), rng.normal(size=(WORDS, 9))
    p = (images / np.linalg.norm(images, axis=1)[:, None]) @ (
        words / np.linalg.norm(words, axis=1)[:, None]
    ).T
    made = cosines(3 * images, words)
    assert made.shape == (IMAGES, WORDS)
    np.testing.assert_allclose(made.columns(0, WORDS), p, atol=1e-6)
    np.testing.assert_allclose(soft_wpmi(tables[0], made), soft_wpmi(tables[0], p), atol=1e-4)


def test_a_planted_word_is_found_by_all():
    rng = np.random.default_rng(1)
    p = rng.normal(0.2, 0.03, (400, 12))
    # Units that grow with the similarity to a word of their own.
    q = np.exp((p[:, [4, 9, 0]] - 0.2) * 60)
    for name, similar in SIMILARITIES.items():
        assert similar(q, p).argmax(1).tolist() == [4, 9, 0], name


def test_the_prior_is_of_the_units_given(tables):
    q, p = tables
    assert np.abs(soft_wpmi(q, p)[:2] - soft_wpmi(q[:, :2], p)).max() > 1e-3
    np.testing.assert_allclose(cosine(q, p)[:2], cosine(q[:, :2], p), atol=1e-12)


def test_many_factors_do_not_underflow():
    """All of the evidence at its least: each factor is about 1 − p_r."""
    p = np.zeros((900, 3))
    p[:, 0] = 50.0
    rng = np.random.default_rng(0)
    found = soft_wpmi(rng.random((900, 2)), p, top=800)
    assert np.isfinite(found).all() and np.isfinite(wpmi(rng.random((900, 2)), p)).all()


def test_words_that_photos_are_far_from_come_last(tables):
    q, p = tables
    p = p.copy()
    p[:, 5] -= 1
    found = rank_reorder(q, p)
    assert (found[3] == 0).all()  # the unit that is always 0 likes all words alike
    others = np.delete(found, 3, axis=0)
    assert (others[:, 5] == -np.inf).all() and np.isfinite(np.delete(others, 5, axis=1)).all()


def test_the_random_orders_come_from_the_seed(tables):
    q, p = tables
    assert (rank_reorder(q, p) == rank_reorder(q, p)).all()
    assert (rank_reorder(q, p, seed=1) != rank_reorder(q, p)).any()


def test_what_does_not_belong_together_is_refused(tables):
    q, p = tables
    with pytest.raises(UnitscopeError, match="not of the same images"):
        cosine(q[:-1], p)
    with pytest.raises(UnitscopeError, match="no choice between words"):
        cosine_cubed(q, p[:, :1])
    with pytest.raises(UnitscopeError, match=r"100 photos that each unit .* 100 in all"):
        soft_wpmi(q[:100], p[:100])
    with pytest.raises(UnitscopeError, match="5% of 30 photos are 1"):
        rank_reorder(q[:30], p[:30])
    broken = q.copy()
    broken[3, 2] = np.nan
    with pytest.raises(UnitscopeError, match="activations that are no finite numbers"):
        wpmi(broken, p)
    far = p.copy()
    far[0, 0] = np.inf
    with pytest.raises(UnitscopeError, match="similarities that are no finite numbers"):
        wpmi(q, far)


def test_features_without_a_direction_are_refused():
    with pytest.raises(UnitscopeError, match="not of one encoder"):
        cosines(np.ones((3, 4)), np.ones((2, 5)))
    with pytest.raises(UnitscopeError, match=r"features of word 1 \(from 0\) are 0 throughout"):
        cosines(np.ones((3, 2)), np.array([[1.0, 2.0], [0.0, 0.0]]))
    with pytest.raises(UnitscopeError, match=r"features of image 2 .* not all finite"):
        cosines(np.array([[1.0], [2.0], [np.nan]]), np.ones((2, 1)))


def test_it_stops_where_that_is_asked_for(tables):
    with pytest.raises(Stopped, match="0 of 23 words"):
        soft_wpmi(*tables, stop=lambda: True)


def test_equal_activations_keep_the_order_of_the_images():
    assert top_images(np.zeros((4, 1)), 3)[:, 0].tolist() == [0, 1, 2]


def test_a_large_word_list_needs_little_memory():
    """20,000 words: P is never whole, and neither is the softmax."""
    rng = np.random.default_rng(0)
    made = Cosines(
        *(rng.normal(size=(n, 16)).astype(np.float32) / 4 for n in (600, 20_000)),
    )
    tracemalloc.start()
    found = soft_wpmi(rng.random((600, 40)), made)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.shape == (40, 20_000)
    assert peak < found.nbytes + 8 * similarity.MEMORY
