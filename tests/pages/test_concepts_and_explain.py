"""The pages Concepts and Explain, in every view."""

from __future__ import annotations

import json

import pytest

from core.cli import main
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.predictions import import_predictions
from core.figures import explain as explain_figures
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Settings
from core.foundation.vocabulary import Core
from core.views import explain, knowledge
from core.views.images import Filter, confused_pairs, gallery
from pages.parts.frame import page_files
from tests import tiny
from tests.pages.showing import show, specs, text_of
from tests.two_runs import LAYER


def labels_of(at) -> list[str]:
    return [link.proto.label for link in at.get("page_link")]


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
    told = explain.account(run, known, "010", LAYER, "highest_iou", "image", "top10").account
    assert told.sentence in text_of(at)
    paper = [spec for spec in specs(at) if spec["title"]["text"] in explain_figures.TITLES.values()]
    assert len(paper) == 3
    for spec in paper:
        said = " ".join(spec["title"]["subtitle"])
        assert "tiny" in said and LAYER in said and "TOP10" in said and "photo 010" in said
    wide = next(frame.value for frame in at.dataframe if "CM" in frame.value)
    assert wide.iloc[0]["CM"] == pytest.approx(told.scenes[0].CM)


def test_settings_go_to_the_address_and_change_the_account_at_once(cache, run, known):
    at = show("pages/4_Explain.py", image="010")
    at.selectbox(key="at-cc").set_value("top10").run()
    assert at.query_params["cc"] in ("top10", ["top10"])
    told = explain.account(run, known, "010", LAYER, "minmax_threshold", "image", "top10")
    assert told.account.sentence in text_of(at)
    at.selectbox(key="at-strategy").set_value("whole_layer").run()
    told = explain.account(run, known, "010", LAYER, "whole_layer", "image", "top10")
    assert told.account.sentence in text_of(at)


def test_a_photo_is_chosen_by_id_pair_and_chance(cache, run):
    wrong = set(gallery(run, Filter(outcome="wrong"), size=99)[1]["id"])
    at = show("pages/4_Explain.py", image="010", see="thing 1")
    at.text_input(key="explain-id").set_value("011").run()
    assert at.query_params["image"] in ("011", ["011"]) and "see" not in at.query_params
    at.button[0].click().run()
    assert at.text_input(key="explain-id").value in wrong
    pair = confused_pairs(run, "test").iloc[0]
    at = show("pages/4_Explain.py", scene=pair["scene"], predicted=pair["predicted"])
    fit = gallery(run, Filter(pair["scene"], pair["predicted"], split="test"), size=99)[1]
    assert at.text_input(key="explain-id").value in set(fit["id"])
    assert f"of {len(fit)}" in text_of(at)
    at = show("pages/4_Explain.py", outcome="wrong")
    at.selectbox(key="explain-pool").set_value(("", "", "")).run()
    assert "outcome" not in at.query_params


def test_confusions_are_counted_on_the_held_out_split_and_all_is_a_choice(cache, run):
    at = show("pages/4_Explain.py")
    for split, words in (("test", "on test"), ("", "on all photos")):
        pool = at.selectbox(key="explain-pool")
        assert words in pool.label
        wanted = confused_pairs(run, split)
        counts = [f"{p.scene} → {p.predicted} ({p.images})" for p in wanted.itertuples(index=False)]
        assert [one for one in pool.options if "→" in one] == counts and counts
        at.selectbox(key="at-split").set_value("all").run()
    assert at.query_params["split"] in ("all", ["all"])
    tested = confused_pairs(run, "test")["images"].sum()
    assert tested < confused_pairs(run)["images"].sum()


def test_a_concept_is_shown_with_the_units_that_saw_it(cache, run, known):
    told = explain.account(run, known, "010", LAYER, "whole_layer", "image", "scc")
    one = told.account.seen[0]
    label = told.label(one)
    at = show("pages/4_Explain.py", image="010", strategy="whole_layer", see=label)
    said = text_of(at)
    assert f"Bright: **{told.shown(one)}**" in said
    assert f"where unit {one.units[0].unit} is active" in said
    unit = str(one.units[-1].unit)
    at = show("pages/4_Explain.py", image="010", strategy="whole_layer", see=label, lit=unit)
    assert f"where unit {unit} is active" in text_of(at)
    at = show("pages/4_Explain.py", image="010", see="thing 77")
    assert "“thing 77” is not annotated in this photo" in text_of(at)


@pytest.mark.parametrize(
    ("page", "address", "said", "link"),
    [
        ("pages/4_Explain.py", {"image": "10"}, "no photo “10”", "Explain 010"),
        ("pages/4_Explain.py", {"image": "zebra"}, "no photo “zebra”", "Show any photo"),
        ("pages/4_Explain.py", {"outcome": "odd"}, "outcome", "Show any photo"),
        (
            "pages/4_Explain.py",
            {"image": "010", "outcome": "odd"},
            "outcome",
            "Show any photo",
        ),
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
        see=told.label(told.account.seen[0]),
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
    for kind in Core:
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
