"""Concept filtering: clusters, links and CF(C_y), each against a plain reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage

from core.explain.metrics import consistency, difference, overlaps, similarity
from core.foundation.errors import BadFile, UnitscopeError
from core.merging.fuse import (
    Vectors,
    cluster,
    dendrogram,
    describe,
    exchanged,
    filter_scenes,
    kmeans,
    make_links,
    mapping,
    read_links,
    representatives,
    word_vectors,
    write_links,
)
from tests.merging.drawn import annotated_of, drawn_vectors, drawn_world, sets


def average_linkage_slow(apart, blocks, forbidden):
    """Clusterings from len(blocks) groups down, by looking at every pair of groups at each step."""
    groups = [tuple(block) for block in blocks]
    out = [sorted(map(sorted, groups))]
    while True:
        pairs = []
        for a, b in itertools.combinations(groups, 2):
            if any(forbidden[i, j] for i in a for j in b):
                continue
            pairs.append((np.mean([apart[i, j] for i in a for j in b]), a, b))
        if not pairs:
            return out
        _, a, b = min(pairs)
        groups = [g for g in groups if g not in (a, b)] + [a + b]
        out.append(sorted(map(sorted, groups)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_the_dendrogram_is_average_linkage_with_forced_and_forbidden_merges(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 9))
    vectors = drawn_vectors(rng, n, unknown=0.15)
    pairs = rng.integers(0, n, (int(rng.integers(0, 4)), 2))
    merge = [tuple(p) for p in pairs[: len(pairs) // 2].tolist()]
    block = make_links(n, merge).block
    apart = [tuple(p) for p in pairs[len(pairs) // 2 :].tolist() if block[p[0]] != block[p[1]]]
    links = make_links(n, merge, apart)
    tree = dendrogram(vectors, np.arange(n), links)
    assert (np.diff(tree.heights) >= -1e-12).all()
    # Reference: distances between blocks are means over members that have a vector.
    blocks = [np.flatnonzero(block == b).tolist() for b in dict.fromkeys(block.tolist())]
    placed = [[c for c in b if vectors.known[c]] for b in blocks]
    alone = [b for b, p in zip(blocks, placed, strict=True) if not p]
    distance = 1 - vectors.rows @ vectors.rows.T
    forbidden = np.zeros((n, n), bool)
    for a, b in apart:
        pair = np.ix_(block == block[a], block == block[b])
        forbidden[pair] = forbidden.T[pair] = True
    whole = {tuple(p): b for p, b in zip(placed, blocks, strict=True) if p}
    steps = average_linkage_slow(distance, [p for p in placed if p], forbidden | forbidden.T)
    for merged in steps:
        expected = [
            sorted(c for p in whole if set(p) <= set(group) for c in whole[p]) for group in merged
        ]
        k = len(expected) + len(alone)
        assert sets(tree.groups(k)) == sorted([*expected, *alone])
    assert (tree.least, tree.most) == (len(steps[-1]) + len(alone), len(blocks))
    with pytest.raises(UnitscopeError, match="groups cannot be made"):
        tree.groups(tree.most + 1)


def test_the_dendrogram_without_links_is_scipys():
    vectors = drawn_vectors(np.random.default_rng(3), 30, 5)
    tree = dendrogram(vectors, np.arange(30))
    known = linkage(vectors.rows, "average", metric="cosine")
    assert tree.heights == pytest.approx(known[:, 2])
    for k in (1, 7, 29):
        number = {c: g for g, group in enumerate(tree.groups(k)) for c in group}
        assert len(set(number.values())) == k


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_kmeans_makes_k_groups_and_obeys_links(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 9))
    vectors = drawn_vectors(rng, n, unknown=0.1)
    rows = vectors.rows.copy()
    rows[1] = rows[0]  # two concepts on one node
    vectors = Vectors("drawn", rows, vectors.known | np.eye(n, dtype=bool)[1] * vectors.known[0])
    links = make_links(n, [(2, 3)], [(0, 1), (3, 1)])
    members = np.arange(n)
    for k in range(1, n + 1):
        try:
            groups = kmeans(vectors, members, k, links, seed=1)
        except UnitscopeError as err:
            assert "groups" in str(err)
            continue
        assert len(groups) == k and sorted(np.concatenate(groups)) == list(range(n))
        of = {int(c): g for g, group in enumerate(groups) for c in group}
        assert of[2] == of[3] and of[0] != of[1] and of[3] != of[1]
        for c in np.flatnonzero(~vectors.known):
            if c not in (2, 3):
                assert len(groups[of[int(c)]]) == 1
        if k == n // 2:
            assert sets(kmeans(vectors, members, k, links, seed=1)) == sets(groups)
    with pytest.raises(UnitscopeError, match="cannot be made"):
        kmeans(vectors, members, n, links)


def test_kmeans_finds_clear_clusters():
    rng = np.random.default_rng(0)
    centres = np.eye(4)
    rows = np.repeat(centres, 5, 0) + rng.normal(scale=0.05, size=(20, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = Vectors("drawn", rows, np.ones(20, bool))
    expected = [list(range(5 * g, 5 * g + 5)) for g in range(4)]
    for method in ("kmeans", "agglomerative"):
        assert sets(cluster(vectors, np.arange(20), 4, method)) == expected
    with pytest.raises(UnitscopeError, match="unknown clustering method"):
        cluster(vectors, np.arange(20), 4, "spectral")


def test_representatives_and_the_list_of_merges():
    vectors = Vectors(
        "drawn",
        np.array([[1, 0], [0.8, 0.6], [0, 1], [0, 0], [1, 0]]),
        np.array([1, 1, 1, 0, 1], bool),
    )
    frequency = np.array([2, 9, 4, 5, 9])
    groups = [np.array([0, 1, 4]), np.array([2, 3])]
    assert representatives(groups, frequency).tolist() == [1, 3]
    assert mapping([*groups], frequency).tolist() == [1, 1, 3, 3, 1]
    frame = describe(groups, vectors, frequency, list("abcde"))
    assert frame["members"].tolist() == ["b + e + a", "d + c"]
    assert frame["distance"][0] == pytest.approx((0.2 + 0.2 + 0) / 3)
    assert frame["widest"][0] == pytest.approx(0.2) and np.isnan(frame["distance"][1])


def test_words_know_names_alone():
    vectors = word_vectors(["chair", "arm_chair", "armchair", "night stand", "nightstand", "x"])
    apart = vectors.distances(np.arange(6))
    assert apart[0, 2] < apart[0, 3] and vectors.known.all()
    assert sets(cluster(vectors, np.arange(6), 3))[1] == [3, 4]
    assert (apart == apart.T).all() and (np.diag(apart) == 0).all()


def test_links_are_read_from_a_file_and_written_to_one(tmp_path):
    annotated = annotated_of(
        ["arm_chair", "chair", "door", "door", "bed, couch", "red"],
        ["object", "object", "object", "part", "object", "color"],
    )
    path = tmp_path / "links.csv"
    path.write_text(
        "link,a,b\n# a comment\n\nmerge,Arm Chair,chair\nkeep_apart,door (part),chair,why\n"
        'merge,"bed, couch",chair\n'
    )
    links = read_links(path, annotated)
    assert links.block[0] == links.block[1] == links.block[4]
    assert links.kept_apart(np.arange(6)).sum() == 6 and links.kept_apart(np.array([0, 3]))[0, 1]
    tabs = tmp_path / "links.tsv"
    tabs.write_text("merge\tbed, couch\tarm_chair\nkeep_apart\tdoor (object)\tdoor (part)\n")
    assert len(read_links(tabs, annotated).apart) == 1
    vectors = drawn_vectors(np.random.default_rng(0), 6)
    labels = ["arm_chair", "chair", "door (object)", "door (part)", "bed, couch", "red"]
    groups = [np.array([0, 4]), np.array([1, 2, 3])]
    for name in ("out.csv", "out.tsv"):
        write_links(groups, vectors, np.arange(6), labels, tmp_path / name)
        again = read_links(tmp_path / name, annotated)
        tree = dendrogram(vectors, np.arange(5), again)
        assert sets(tree.groups(2)) == sets(groups)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("merge,chair\n", "line 1 needs a link and two concepts"),
        ("\nmerge,chair,chiar\n", "line 2: unknown concept 'chiar'; nearest: chair"),
        ("merge,chair,door\n", r"line 1: 'door' may be any of door \(object\), door \(part\)"),
        ("merge,chair,red\n", "line 1: 'red' is a color, and those never take part"),
        ("mergee,chair,bed\n", "line 1: unknown link 'mergee'; nearest: merge"),
        ("merge,a,bed\nmerge,bed,chair\nkeep_apart,chair,a\n", "line 3 .* line 1, 2 merge"),
        ("keep_apart,chair,chair\n", "one and the same"),
    ],
)
def test_mistakes_in_links_are_told_with_their_line(tmp_path, text, message):
    annotated = annotated_of(
        ["a", "chair", "door", "door", "bed", "red"],
        ["object", "object", "object", "part", "object", "color"],
    )
    path = tmp_path / "links.csv"
    path.write_text(text)
    with pytest.raises(BadFile, match=message):
        read_links(path, annotated)
    with pytest.raises(BadFile, match="does not exist"):
        read_links(tmp_path / "none.csv", annotated)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["agglomerative", "kmeans"]))
def test_filtered_scenes_and_metrics_follow_the_definition(seed, method):
    rng, annotated = drawn_world(seed)
    vectors = drawn_vectors(rng, 7)
    filtered = filter_scenes(annotated, vectors, 0.5, method)
    random = exchanged(filtered, annotated, rng)
    for scene, groups in enumerate(filtered.groups):
        members = [c for c in range(7) if annotated.frequency[scene, c] > 0 and c != 2]
        assert sorted(c for g in groups for c in g) == members
        assert sorted(c for g in random.groups[scene] for c in g) == members
        assert sorted(map(len, groups)) == sorted(map(len, random.groups[scene]))
        if members:
            assert len(groups) == max(1, round(0.5 * len(members)))
        for made in (filtered, random):
            for group in made.groups[scene]:
                best = max(group, key=lambda c: (annotated.frequency[scene, c], -c))
                assert (made.to[scene, group] == best).all()
            outside = [c for c in range(7) if c not in members]
            assert (made.to[scene, outside] == outside).all()
    learned, core = rng.random((9, 7)) < 0.5, rng.random((3, 7)) < 0.5
    to = filtered.to
    both, size, core_size = overlaps(learned, core, to)
    cm, sm, dm = (f(learned, core, to) for f in (consistency, similarity, difference))
    for x in range(9):
        for y in range(3):
            lc = {int(to[y, c]) for c in np.flatnonzero(learned[x])}
            cc = {int(to[y, c]) for c in np.flatnonzero(core[y])}
            assert (both[x, y], size[x, y], core_size[y]) == (len(lc & cc), len(lc), len(cc))
            if cc:
                assert cm[x, y] == len(lc & cc) / len(cc)
                assert sm[x, y] == pytest.approx(len(lc & cc) / len(lc | cc))
                assert dm[x, y] == len(lc - cc) / len(cc)
            else:
                assert np.isnan(cm[x, y])
    same = np.tile(np.arange(7), (3, 1))
    np.testing.assert_array_equal(consistency(learned, core, same), consistency(learned, core))
    with pytest.raises(UnitscopeError, match=r"lies in \(0, 1\]"):
        filter_scenes(annotated, vectors, 0.0)


def test_links_hold_in_a_scene_where_the_one_between_is_missing():
    has = [[1, 0, 1, 1], [1, 1, 1, 1]]
    annotated = annotated_of(list("abcd"), has=has, scene_of=[0, 1], scenes=("y", "z"))
    vectors = Vectors("drawn", np.eye(4), np.ones(4, bool))
    links = make_links(4, [(0, 1), (1, 2)])
    filtered = filter_scenes(annotated, vectors, 1.0, links=links)
    assert [sets(groups) for groups in filtered.groups] == [[[0, 2], [3]], [[0, 1, 2], [3]]]
