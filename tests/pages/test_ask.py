"""The pages Concepts and Explain, and what core.views answers for them, recomputed slowly."""

from __future__ import annotations

import io
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from core.cli import main
from core.dissect.pipeline import Settings, execute, plan
from core.dissect.predictions import import_predictions
from core.explain.learned import IOUS, STRATEGIES, unit_ious
from core.figures import concepts as concept_figures
from core.figures import explain as explain_figures
from core.figures.base import Caption
from core.figures.export import export
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.names import place
from core.runs.run_file import Run
from core.views import explain, knowledge
from core.views.images import Filter, concept_id, confused_pairs, gallery
from core.views.pictures import OUTLINE, active_region, thumbnail
from core.views.runs import resolve
from core.views.units import has_maps
from pages.parts.frame import page_files
from tests import tiny
from tests.pages.test_app import show, specs, text_of

LAYER = "body.3"
FACTS = [
    ("AtLocation", "thing 1", "attic"),
    ("HasA", "attic", "thing 1"),
    ("PartOf", "piece 6", "attic"),
    ("AtLocation", "thing 2", "barn"),
    ("UsedFor", "barn", "piece 7"),
    ("IsA", "thing 3", "barn"),
    ("AtLocation", "thing 9", "barn"),
    ("AtLocation", "straw", "barn"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two runs with a graph of their own: one with maps, the newest; one without."""
    base = tmp_path_factory.mktemp("ask")
    folder = tiny.write_folder(base / "tiny", 45)
    facts = base / "facts.tsv"
    facts.write_text("".join("\t".join(fact) + "\n" for fact in FACTS))
    more = {"q": 0.05, "shuffles": 3, "knowledge": f"triples:{facts}"}
    out = base / "cache"
    bare = Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), keep_maps=False, **more)
    execute(plan(bare), out).close()
    time.sleep(0.05)  # the newest run is the one shown, by file time
    execute(plan(Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), **more)), out).close()
    return out


@pytest.fixture(scope="module")
def run(root) -> Run:
    return Run(resolve(None, root))


@pytest.fixture(scope="module")
def bare(root) -> Run:
    return next(r for r in map(Run, root.glob("*.duckdb")) if not has_maps(r, LAYER))


@pytest.fixture(scope="module")
def known(run) -> knowledge.Known:
    spec = knowledge.own_knowledge(run)
    return knowledge.know(run, knowledge.open_knowledge(spec), spec)


@pytest.fixture
def cache(monkeypatch, root) -> Path:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return root


def labels_of(at) -> list[str]:
    return [link.proto.label for link in at.get("page_link")]


# -- core.views.knowledge ------------------------------------------------------------------


def by_hand(run: Run, scene: str) -> tuple[dict[str, float], set[str]]:
    """({concept: share of the scene's photos}, RC ∩ C) from the label maps and the facts."""
    rows = run.sql(
        "SELECT i.image, s.name FROM images i JOIN scenes s USING (scene) WHERE s.name = ?", [scene]
    )
    names = run.sql("SELECT concept, name FROM concepts WHERE category <> 'scene'")
    grids = run.array("labels")
    held = {
        row["name"]: np.mean([(grids[image] == row["concept"]).any() for image in rows["image"]])
        for _, row in names.iterrows()
    }
    near = {
        other
        for relation, head, tail in FACTS
        for other in {head, tail} - {scene}
        if scene in (head, tail) and relation != "IsA"
    }
    return {k: v for k, v in held.items() if v}, near & set(names["name"])


def test_concepts_of_scenes_by_hand(run, known):
    table = knowledge.scene_table(run, known).set_index("scene")
    assert list(table.index) == list(tiny.SCENES)
    for scene in tiny.SCENES:
        held, near = by_hand(run, scene)
        frame = knowledge.scene_concepts(run, known, scene).set_index("label")
        assert set(frame.index) == set(held) | near
        assert frame["frequency"].is_monotonic_decreasing
        for name, row in frame.iterrows():
            assert row["frequency"] == pytest.approx(held.get(name, 0.0))
            assert row["in_photos"] == (name in held) and row["related"] == (name in near)
            assert row["scc"] == (name in held and name in near)
            facts = [f"{h} {r} {t}" for r, h, t in FACTS if scene in (h, t) and name in (h, t)]
            assert set(filter(None, row["facts"].split("; "))) == {
                fact for fact in facts if " IsA " not in fact
            }
        facts = knowledge.scene_facts(run, known, scene)
        assert facts.annotated == table.loc[scene, "annotated"] == len(held)
        assert facts.related == table.loc[scene, "related"] == len(near)
        assert facts.scc == frame["scc"].sum() and facts.icc == frame["icc"].sum()
    # Straw and thing 9 are in the graph and not in the dataset.
    assert knowledge.scene_facts(run, known, "barn").neighbours == 4
    assert knowledge.scene_facts(run, known, "cellar").node is None


def test_search_steps_count_sets(run, known):
    steps = knowledge.search_steps(run, known)
    held = {scene: by_hand(run, scene)[0] for scene in tiny.SCENES}
    for row in steps[steps["search"] == "Count"].itertuples():
        sets = {frozenset(c for c, f in held[s].items() if f >= row.p) for s in tiny.SCENES}
        assert len(sets) == row.sets
    shares = knowledge.percentages(run, known)
    chosen = steps[steps["chosen"]].set_index("search")["p"]
    assert chosen["Count"] == shares.p_c and chosen["SCount"] == shares.p_sc
    best = steps.groupby("search")["sets"].transform("max")
    for name, part in steps[steps["sets"] == best].groupby("search"):
        assert part["p"].max() == chosen[name], "the highest p with the most sets"


def test_long_searches_are_thinned_without_losing_the_best():
    rng = np.random.default_rng(0)
    sets = rng.integers(1, 900, 5000)
    search = knowledge.Identifying(0.0, False, [], np.linspace(1, 0, 5000), sets, 900)
    frame = knowledge._steps("Count", search)
    assert len(frame) <= knowledge.STEPS + 2 and frame["sets"].max() == sets.max()
    assert frame["chosen"].sum() == 1 and frame.loc[frame["chosen"], "sets"].item() == sets.max()


@pytest.mark.parametrize("kind", knowledge.KINDS)
def test_the_graph_is_laid_out_the_same_and_without_collisions(run, known, kind):
    for scene in tiny.SCENES:
        nodes, edges = knowledge.picture(run, known, scene, kind)
        again, _ = knowledge.picture(run, known, scene, kind)
        pd.testing.assert_frame_equal(nodes, again)
        frame = knowledge.scene_concepts(run, known, scene)
        wanted = frame[frame["related"] | frame[kind]]
        around = nodes[nodes["concept"] != 0]
        assert set(around["concept"]) == set(wanted["concept"]) and len(edges) == len(wanted)
        assert (nodes["concept"] == 0).sum() == 1
        for _, side in around.groupby("anchor"):
            assert side["y"].is_unique
        near = around[around["in_photos"]].assign(far=around["x"].abs())
        for a, b in itertools.combinations(near.itertuples(), 2):
            if a.frequency > b.frequency:
                assert a.far < b.far
        deck = json.loads(concept_figures.scene_deck(nodes, edges, True).to_json())
        assert [layer["id"] for layer in deck["layers"]] == ["facts", "concepts", "names"]
        assert not deck.get("mapProvider") and not deck.get("mapStyle")
        assert deck["views"][0]["@@type"] == "OrthographicView"
    with pytest.raises(UnitscopeError, match="kind of core concepts"):
        knowledge.picture(run, known, "barn", "sccc")


def test_names_and_scenes_of_a_concept(run, known):
    frame = knowledge.alignment(run, known).set_index("name")
    assert set(frame.index) >= {"attic", "thing 1", "piece 8"}
    assert frame.loc["cellar", "node"] is None and frame.loc["cellar", "kind"] == "none"
    assert frame.loc["attic", "facts"] == sum("attic" in fact for fact in FACTS)
    assert frame.loc["attic", "what"] == "scene" and frame.loc["thing 1", "what"] == "concept"
    assert (frame["guess"] == frame["kind"].isin(knowledge.GUESSES)).all()
    concept = concept_id(run, "thing 1")
    where = knowledge.scenes_with(run, known, concept).set_index("scene")
    for scene in tiny.SCENES:
        held, near = by_hand(run, scene)
        assert where.loc[scene, "frequency"] == pytest.approx(held["thing 1"])
        assert where.loc[scene, "related"] == ("thing 1" in near)
    whole = run.sql("SELECT min(concept) AS c FROM concepts WHERE category = 'scene'")["c"].iloc[0]
    assert not len(knowledge.scenes_with(run, known, int(whole)))


def test_a_graph_that_changes_is_seen(tmp_path):
    file = tmp_path / "facts.tsv"
    file.write_text("AtLocation\tbed\tbedroom\n")
    spec = f"triples:{file}"
    before = knowledge.knowledge_stamp(spec)
    file.write_text("AtLocation\tbed\tbedroom\nAtLocation\tlamp\tbedroom\n")
    assert before and knowledge.knowledge_stamp(spec) != before
    assert knowledge.knowledge_stamp("builtin") and not knowledge.knowledge_stamp("triples:gone")


# -- core.views.explain --------------------------------------------------------------------


def test_one_images_counts_are_those_of_all(run):
    for iou in IOUS:
        whole = unit_ious(run, LAYER, iou)
        for image in (0, 7, 44):
            pd.testing.assert_frame_equal(
                unit_ious(run, LAYER, iou, image),
                whole[whole["image"] == image].reset_index(drop=True),
            )


def test_accounts_are_told_with_names_and_judged(run, known):
    ids = run.sql("SELECT id FROM images ORDER BY image")["id"].tolist()
    for strategy, kind in itertools.product(STRATEGIES, knowledge.KINDS):
        told = explain.account(run, known, ids[4], LAYER, strategy, "image", kind)
        for one in told["seen"]:
            assert concept_id(run, one["label"]) == one["id"]
        frame = explain.account_table(told)
        for side, facts in told["sides"].items():
            part = frame[frame["side"] == side]
            assert set(part["concept"]) == {
                i["shown"] for g in ("met", "missed", "foreign") for i in facts[g]
            }
            assert (part["group"] == "met").sum() == len(facts["met"])
        row = {one["scene"]: one for one in told["scenes"]}
        verdict = explain.verdict(told)
        a, b = (told["sides"].get(side, {}).get("scene") for side in explain.SIDES)
        for name, value in verdict.items():
            if a in row and b in row and a != b and told["seen"]:
                assert value == (row[a][name] > row[b][name])
            else:
                assert value is None
    with pytest.raises(UnitscopeError, match="kind of core concepts"):
        explain.account(run, known, ids[4], LAYER, "whole_layer", "image", "top")


@pytest.mark.parametrize(
    "choice",
    [
        Filter(),
        Filter(outcome="wrong"),
        Filter("attic", "barn"),
        Filter("barn", outcome="right"),
        Filter("barn", "nowhere"),
    ],
)
def test_photos_are_gone_through_in_order(run, choice):
    total, frame = gallery(run, choice, size=1000)
    ids, images = frame["id"].tolist(), frame["image"].tolist()
    for image in range(45):
        place = explain.place(run, choice, image)
        assert place.total == total
        assert place.number == (images.index(image) + 1 if image in images else 0)
        before = [i for i, k in zip(ids, images, strict=True) if k < image]
        after = [i for i, k in zip(ids, images, strict=True) if k > image]
        assert place.before == (before[-1] if before else None)
        assert place.after == (after[0] if after else None)
    drawn = {explain.drawn(run, choice, seed) for seed in range(60)}
    assert drawn <= set(ids) if total else drawn == {None}
    assert explain.drawn(run, choice, 5) == explain.drawn(run, choice, 5)
    surest = explain.clearest(run, choice)
    if not total:
        assert surest is None
        return
    wrong = frame[frame["correct"] == False]  # noqa: E712 (NULL is neither)
    best = wrong if len(wrong) else frame
    assert frame.set_index("id").loc[surest, "confidence"] == best["confidence"].max()
    if total > 5:
        assert len(drawn) > 1


def test_evidence_shows_the_mask_and_the_lit_region(run):
    image, side = 3, 120
    rows = unit_ious(run, LAYER, "image", image)
    concept, unit = int(rows["concept"].iloc[0]), int(rows["unit"].iloc[0])
    plain = np.asarray(Image.open(io.BytesIO(thumbnail(run, image, side))), int)
    made = Image.open(io.BytesIO(explain.evidence(run, LAYER, image, concept, None, side)))
    mask = (run.array("labels")[image] == concept).any(0)
    mask = np.asarray(Image.fromarray(mask).resize(made.size, Image.Resampling.NEAREST))
    inside = np.abs(np.asarray(made, int) - plain).mean(2)
    assert inside[mask].mean() < 12 < inside[~mask].mean(), "the mask is bright, the rest dim"
    both = np.asarray(
        Image.open(io.BytesIO(explain.evidence(run, LAYER, image, concept, unit, side))), int
    )
    lit = active_region(run, LAYER, unit, image, made.size)
    edge = np.zeros_like(lit)
    edge[1:] |= lit[1:] != lit[:-1]
    edge[:, 1:] |= lit[:, 1:] != lit[:, :-1]
    away = np.abs(both - np.array(OUTLINE)).mean(2)
    assert np.median(away[edge]) < 40, "the edge of the lit region is yellow"
    assert explain.evidence(run, LAYER, image, None, None, side) == thumbnail(run, image, side)


def picture_bytes(width: int, height: int) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    Image.fromarray(noise).resize((width, height)).save(out, "PNG")
    return out.getvalue()


def test_a_photo_of_ones_own(run, known):
    network = explain.open_network(run)
    hooks = [m for m in network.model.module.modules() if m._forward_hooks]
    told = explain.own_photo(run, known, network, picture_bytes(64, 48), "my.png", LAYER, "scc")
    assert told["image"] == "my.png" and told["target"] is None
    assert set(told["sides"]) == {"predicted"} and told["scenes"]
    assert all(item["annotated"] is None for item in told["sides"]["predicted"]["met"])
    # What the network sees of any photo: the middle of it, in its own size.
    assert Image.open(io.BytesIO(told["photo"])).size == (24, 24)
    assert hooks == [m for m in network.model.module.modules() if m._forward_hooks] == []
    for data, why in ((b"", "empty"), (b"not an image", "image"), (picture_bytes(64, 48)[:80], "")):
        with pytest.raises(BadFile, match=r"my\.png") as caught:
            explain.own_photo(run, known, network, data, "my.png", LAYER, "scc")
        assert why in str(caught.value) and "/" not in str(caught.value).split("(")[0]


def test_a_photo_too_small_is_told(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 9)
    made = execute(
        plan(
            Settings(
                f"folder:{folder}", "python:tests.tiny:uncropped", (LAYER,), q=0.05, shuffles=0
            )
        ),
        tmp_path / "cache",
    )
    known = knowledge.know(made, knowledge.open_knowledge("builtin"), "builtin")
    network = explain.open_network(made)
    with pytest.raises(BadFile, match=r"small\.png: .*20"):
        explain.own_photo(made, known, network, picture_bytes(16, 16), "small.png", LAYER, "top10")


def test_a_network_that_changed_is_refused(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 9)
    weights = tmp_path / "net.pt"
    torch.save(tiny.Net().state_dict(), weights)
    spec = f"{tiny.SPEC}:{weights}"
    made = execute(
        plan(Settings(f"folder:{folder}", spec, (LAYER,), q=0.05, shuffles=0)), tmp_path / "cache"
    )
    assert explain.open_network(made).digest
    state = tiny.Net().state_dict()
    state["head.bias"] += 1
    torch.save(state, weights)
    with pytest.raises(UnitscopeError, match="no longer the network"):
        explain.open_network(made)


# -- figures --------------------------------------------------------------------------------


@pytest.mark.parametrize("dark", [False, True])
def test_figures_say_what_they_show(run, known, dark):
    caption = Caption("tiny", "net", LAYER, "threshold, IoU in photo, SCC", "photo 004")
    told = explain.account(run, known, "004", LAYER, "whole_layer", "image", "top10")
    both = {side: facts["scene"] for side, facts in told["sides"].items()}
    frame = pd.DataFrame(told["scenes"])
    for name in explain.MEASURES:
        svg = export(
            explain_figures.measure(frame, name, both, caption, dark), "svg", dark
        ).decode()
        for scene, row in frame.set_index("scene").iterrows():
            if scene in both.values():
                rank = place(int(row[f"{name}_rank"]), frame[f"{name}_rank"].tolist())
                assert f"{row[name]:.2f}, {rank}" in svg
        assert f"({name})" in svg and "photo 004" in svg
    nodes, edges = knowledge.picture(run, known, "attic")
    chart = concept_figures.scene_graph(nodes, edges, "What is in an attic", caption, dark)
    svg = export(chart, "svg", dark).decode()
    assert all(str(name) in svg for name in nodes["shown"])
    steps = knowledge.search_steps(run, known)
    svg = export(concept_figures.search(steps, 3, caption, dark), "svg", dark).decode()
    assert "Telling 3 scenes apart" in svg and "P_sc" in svg


# -- pages ----------------------------------------------------------------------------------

VIEWS = [
    ("pages/3_Concepts.py", {}),
    ("pages/3_Concepts.py", {"scene": "barn"}),
    ("pages/3_Concepts.py", {"scene": "cellar", "cc": "icc"}),
    ("pages/3_Concepts.py", {"view": "find"}),
    ("pages/3_Concepts.py", {"view": "find", "concept": "thing 2"}),
    ("pages/3_Concepts.py", {"view": "find", "concept": "barn"}),
    ("pages/3_Concepts.py", {"view": "names", "guess": "1"}),
    ("pages/3_Concepts.py", {"knowledge": "builtin", "scene": "attic"}),
    ("pages/4_Explain.py", {}),
    ("pages/4_Explain.py", {"image": "010", "strategy": "whole_layer", "cc": "top10"}),
    ("pages/4_Explain.py", {"image": "010", "eq2": "dataset_normalised", "cc": "icc"}),
    ("pages/4_Explain.py", {"knowledge": "builtin"}),
    ("pages/4_Explain.py", {"view": "own"}),
]


@pytest.mark.parametrize(("page", "address"), VIEWS)
def test_every_view_opens_by_its_own_address(cache, page, address):
    at = show(page, **address)
    assert at.title and not at.error
    # Things that the built-in facts know nothing of: the page says so, and shows what there is.
    warned = [warning.value for warning in at.warning]
    assert len(warned) == (address.get("knowledge") == "builtin")
    assert all("is a node of builtin" in text for text in warned)


def test_the_pages_are_in_their_order():
    assert list(page_files())[:5] == ["Overview", "Scenes", "Units", "Concepts", "Explain"]


def test_explain_says_what_the_command_line_says(cache, run, known):
    at = show("pages/4_Explain.py", image="010", strategy="highest_iou", cc="top10")
    told = explain.account(run, known, "010", LAYER, "highest_iou", "image", "top10")
    assert told["sentence"] in text_of(at)
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert titles == list(explain_figures.TITLES.values())
    for spec in specs(at):
        said = " ".join(spec["title"]["subtitle"])
        assert "tiny" in said and LAYER in said and "TOP10" in said and "photo 010" in said
    wide = at.dataframe[0].value
    assert wide.iloc[0]["CM"] == pytest.approx(told["scenes"][0]["CM"])


def test_settings_go_to_the_address_and_change_the_account_at_once(cache, run, known):
    at = show("pages/4_Explain.py", image="010")
    at.selectbox(key="at-cc").set_value("top10").run()
    assert at.query_params["cc"] in ("top10", ["top10"])
    told = explain.account(run, known, "010", LAYER, "minmax_threshold", "image", "top10")
    assert told["sentence"] in text_of(at)
    at.selectbox(key="at-strategy").set_value("whole_layer").run()
    told = explain.account(run, known, "010", LAYER, "whole_layer", "image", "top10")
    assert told["sentence"] in text_of(at)


def test_a_photo_is_chosen_by_id_pair_and_chance(cache, run):
    wrong = set(gallery(run, Filter(outcome="wrong"), size=99)[1]["id"])
    at = show("pages/4_Explain.py", image="010", see="thing 1")
    at.text_input(key="explain-id").set_value("011").run()
    assert at.query_params["image"] in ("011", ["011"]) and "see" not in at.query_params
    at.button[0].click().run()
    assert at.text_input(key="explain-id").value in wrong
    pair = confused_pairs(run).iloc[0]
    at = show("pages/4_Explain.py", scene=pair["scene"], predicted=pair["predicted"])
    fit = gallery(run, Filter(pair["scene"], pair["predicted"]), size=99)[1]
    assert at.text_input(key="explain-id").value in set(fit["id"])
    assert f"of {len(fit)}" in text_of(at)
    at = show("pages/4_Explain.py", outcome="wrong")
    at.selectbox(key="explain-pool").set_value(("", "", "")).run()
    assert "outcome" not in at.query_params


def test_a_concept_is_shown_with_the_units_that_saw_it(cache, run, known):
    told = explain.account(run, known, "010", LAYER, "whole_layer", "image", "scc")
    one = told["seen"][0]
    at = show("pages/4_Explain.py", image="010", strategy="whole_layer", see=one["label"])
    said = text_of(at)
    assert f"Bright: **{one['shown']}**" in said
    assert f"where unit {one['units'][0]['unit']} is lit" in said
    unit = str(one["units"][-1]["unit"])
    at = show("pages/4_Explain.py", image="010", strategy="whole_layer", see=one["label"], lit=unit)
    assert f"where unit {unit} is lit" in text_of(at)
    at = show("pages/4_Explain.py", image="010", see="thing 77")
    assert "no “thing 77” annotated" in text_of(at)


@pytest.mark.parametrize(
    ("page", "address", "said", "link"),
    [
        ("pages/4_Explain.py", {"image": "10"}, "no photo “10”", "Explain 010"),
        ("pages/4_Explain.py", {"image": "zebra"}, "no photo “zebra”", "Show any photo"),
        ("pages/4_Explain.py", {"outcome": "odd"}, "outcome", "Show any photo"),
        ("pages/4_Explain.py", {"knowledge": "triples:x"}, "no knowledge graph", "run’s own"),
        ("pages/3_Concepts.py", {"scene": "atticc"}, "no scene “atticc”", "Show attic"),
        (
            "pages/3_Concepts.py",
            {"view": "find", "concept": "thing 11"},
            "no concept",
            "Search thing 1",
        ),
        ("pages/3_Concepts.py", {"knowledge": "conceptnet:x"}, "no knowledge graph", "run’s own"),
    ],
)
def test_an_address_with_a_slip_names_the_nearest(cache, page, address, said, link):
    at = show(page, **address)
    assert said in at.warning[0].value.replace("Unknown", "unknown")
    assert any(link in label for label in labels_of(at)), labels_of(at)


@pytest.mark.parametrize(
    "address",
    [
        {"strategy": "best"},
        {"cc": "ccc"},
        {"eq2": "x"},
        {"view": "x"},
        {"lit": "99", "see": "thing 1"},
    ],
)
def test_an_unknown_setting_falls_back(cache, address):
    at = show("pages/4_Explain.py", image="010", **address)
    assert at.title and not at.warning and not at.error


def test_a_pair_without_photos_says_so(cache):
    at = show("pages/4_Explain.py", scene="barn", predicted="nowhere")
    assert "No photo fits" in at.info[0].value and "Show any photo" in labels_of(at)


def test_a_run_without_maps_is_explained_without_lit_regions(cache, bare, run, known):
    told = explain.account(run, known, "010", LAYER, "whole_layer", "image", "scc")
    at = show(
        "pages/4_Explain.py",
        run=bare.digest,
        image="010",
        strategy="whole_layer",
        see=told["seen"][0]["label"],
    )
    assert "kept no activation maps" in text_of(at) and not at.warning
    assert not show("pages/3_Concepts.py", run=bare.digest, view="find", concept="thing 2").warning


def test_published_predictions_have_nothing_to_explain(monkeypatch, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("pred,target\nden,den\nden,attic\n")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    import_predictions(table, name="published", root=tmp_path / "cache")
    for page in ("pages/3_Concepts.py", "pages/4_Explain.py"):
        at = show(page)
        assert "published predictions" in at.warning[0].value
        assert "See how often they are right" in labels_of(at)


def test_a_graph_that_is_gone_is_told_with_another_way(monkeypatch, tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 9)
    facts = tmp_path / "facts.tsv"
    facts.write_text("AtLocation\tthing 1\tattic\n")
    settings = Settings(
        f"folder:{folder}", tiny.SPEC, (LAYER,), q=0.05, shuffles=0, knowledge=f"triples:{facts}"
    )
    execute(plan(settings), tmp_path / "cache").close()
    facts.unlink()
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    for page in ("pages/3_Concepts.py", "pages/4_Explain.py"):
        at = show(page)
        assert "does not exist" in at.warning[0].value
        assert "Use the embedded facts instead" in labels_of(at)


def test_concepts_shows_facts_filters_and_the_graph(cache, run, known):
    at = show("pages/3_Concepts.py", scene="attic", show="scc")
    frame = at.dataframe[0].value
    wanted = knowledge.scene_concepts(run, known, "attic")
    assert frame["concept"].tolist() == wanted.loc[wanted["scc"], "shown"].tolist()
    assert "thing 1 AtLocation attic" in " ".join(frame["facts that brought it in"])
    deck = json.loads(at.get("deck_gl_json_chart")[0].proto.json)
    assert len(deck["layers"]) == 3
    at = show("pages/3_Concepts.py", scene="attic", category="part", word="piece")
    assert set(at.dataframe[0].value["category"]) == {"part"}
    at = show("pages/3_Concepts.py", scene="attic", word="zzz")
    assert "No concept fits" in at.info[0].value
    assert "has no word for cellar" in text_of(show("pages/3_Concepts.py", scene="cellar"))
    names = show("pages/3_Concepts.py", view="names", kind="none").dataframe[0].value
    assert set(names["name"]) >= {"cellar"} and names["node"].isna().all()
    # The table on screen is a file that `--overrides` reads.
    assert list(names.columns[:2]) == ["name", "node"]


def test_pages_read_names_with_a_file_of_corrections(cache, run, known, capsys):
    """A kept file is what --overrides makes of it, and only what was kept can be named."""
    mine = "name\tnode\ncellar\tbarn\n"
    word = knowledge.keep_names(run, known.graph, mine.encode())
    told = knowledge.know(run, known.graph, known.spec, knowledge.kept_names(run, word))
    assert told.digest != known.digest and told.alignment.loc["cellar", "node"] == "barn"
    file = cache / "mine.tsv"
    file.write_text(mine)
    for kind in knowledge.KINDS:
        args = ["concepts", run.digest, "--out", str(cache), "--cc", kind, "--allow-empty"]
        args += ["--overrides", str(file)]
        assert main([*args, "--json"]) == 0
        said = json.loads(capsys.readouterr().out.splitlines()[-1])["scenes"]
        assert said["cellar"] == told.core[kind].table("cellar")["concept"].tolist()
    address = {"names": word, "scene": "cellar"}
    at = show("pages/3_Concepts.py", **address)
    assert "has no word for cellar" not in text_of(at) and "names corrected" in text_of(at)
    at = show("pages/4_Explain.py", names=word)
    assert any("corrections" in one.value for one in at.sidebar.caption)
    assert any(
        "names corrected" in line for spec in specs(at) for line in spec["title"]["subtitle"]
    )
    for wrong in ("0" * len(word), "../../etc/passwd"):
        at = show("pages/3_Concepts.py", names=wrong)
        assert "no corrected names are kept" in at.warning[0].value.lower()
    for bad, why in ((b"name,node\ncellar,barm\n", "barn"), (b"a,b\n", "header")):
        with pytest.raises(UnitscopeError, match=why):
            knowledge.keep_names(run, known.graph, bad)
    # What one graph takes stays when it is given with another that does not know the word.
    other = knowledge.open_knowledge("builtin")
    mine = knowledge.keep_names(run, known.graph, b"name,node\ncellar,thing 9\n")
    with pytest.raises(UnitscopeError, match="the file"):
        knowledge.keep_names(run, other, b"name,node\ncellar,thing 9\n")
    assert knowledge.kept_names(run, mine).is_file()


def test_a_photo_leads_to_its_account(cache):
    at = show("pages/1_Scenes.py", image="010")
    why = next(link for link in at.get("page_link") if link.proto.label == "Why?")
    assert "image=010" in why.proto.query_string


def test_concepts_that_share_a_name_are_told_apart(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 12)
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("piece 6", "thing 1"))
    settings = Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), q=0.05, shuffles=0)
    made = execute(plan(settings), tmp_path / "cache")
    known = knowledge.know(made, knowledge.open_knowledge("builtin"), "builtin")
    told = explain.account(made, known, "003", LAYER, "whole_layer", "image", "top10")
    items = [i for side in told["sides"].values() for g in explain.GROUPS for i in side[g]]
    for item in [*told["seen"], *items]:
        assert concept_id(made, item["label"]) == item["id"]
    both = {i["label"] for i in items if i["concept"] == "thing 1"}
    assert both == {"thing 1 (object)", "thing 1 (part)"}
