"""What caused an answer, on the page Explain."""

from __future__ import annotations

import json

import torch

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.figures.explain import CLICKED
from core.foundation.settings import Settings
from core.views import causes
from core.views.images import image_number
from pages.parts.clicks import clicked_now
from tests import tiny
from tests.pages.showing import show, specs, text_of
from tests.two_runs import LAYER


def pills(at):
    return next(group for group in at.get("button_group") if group.key == "at-without")


def test_causes_stand_first_and_concepts_are_clicked_away(cache, run, known):
    at = show("pages/4_Explain.py", image="010", cc="top10", filling="mean")
    network = causes.open_layer(run, LAYER)
    told = causes.causes(run, network, known, "010", "top10", filling="mean")
    found, said = told.causes, text_of(at)
    assert found.sentence in said
    heads = [one.value for one in (*at.header, *at.header)]
    assert heads.index("What knowledge says of these causes") < heads.index("The paper’s account")
    first = specs(at)[0]
    assert "What speaks for" in first["title"]["text"]
    subtitle = " ".join(first["title"]["subtitle"])
    assert all(word in subtitle for word in ("tiny", LAYER, "photo 010 (test)", "filled by mean"))
    image, pair = image_number(run, "010"), (found.answer, found.against)
    for names in ([told.label(found.rows[0])], [told.label(r) for r in found.rows[:2]]):
        pills(at).set_value(names).run()
        ids = tuple(r.concept for r in found.rows[: len(names)])
        after = causes.taken_away(run, network, image, ids, "mean", pair)
        margin = f"{after.margin:+.2f}".replace("-", "−")
        assert f"predicts **{after.answer}**" in text_of(at) and f"**{margin}**" in text_of(at)
    assert "|".join(names) in str(at.query_params["without"])
    pills(at).set_value([]).run()
    assert "Choose what to remove" in text_of(at) and at.query_params["without"] in (
        "none",
        ["none"],
    )


def test_the_pair_and_the_category_are_in_the_address(cache, run, known):
    at = show("pages/4_Explain.py", image="010", of="cellar", against="barn", category="part")
    network = causes.open_layer(run, LAYER)
    told = causes.causes(run, network, known, "010", "scc", ("cellar", "barn"), "", ("part",))
    assert told.causes.sentence in text_of(at)
    at = show("pages/4_Explain.py", image="010", of="barn", against="barn")
    assert "cannot be held against itself" in " ".join(one.value for one in at.info)
    at.selectbox(key="at-against").set_value("").run()
    assert "against" not in at.query_params and "against itself" not in text_of(at)


def test_a_network_that_changed_leaves_the_papers_account(monkeypatch, tmp_path):
    folder, weights = tiny.write_folder(tmp_path / "tiny", 12), tmp_path / "net.pt"
    torch.save(tiny.Net().state_dict(), weights)
    spec = f"{tiny.SPEC}:{weights}"
    asked = Settings(f"folder:{folder}", spec, (LAYER,), q=0.05, shuffles=0)
    execute(plan(asked), tmp_path / "cache").close()
    state = tiny.Net().state_dict()
    state["head.bias"] += 1
    torch.save(state, weights)
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    at = show("pages/4_Explain.py", image="010", cc="top10")
    assert "no longer the network" in " ".join(one.value for one in at.info)
    assert "The paper’s account" in [one.value for one in at.header]


def test_a_row_of_the_chart_is_clicked_away_and_back(cache, run, known):
    """What the chart's clicks do to the address; the click itself: test_browser_explain.py."""
    network = causes.open_layer(run, LAYER)
    told = causes.causes(run, network, known, "010", "top10", filling="mean")
    at = show("pages/4_Explain.py", image="010", cc="top10", filling="mean", without="none")
    assert "Click a row to remove its concept" in text_of(at)
    assert "interval" not in json.dumps(specs(at)[0]["params"])
    (pick,) = [one for one in specs(at)[0]["params"] if one["name"] == CLICKED]
    assert pick["select"]["fields"] == ["label"] and pick["select"]["toggle"] == "true"
    assert clicked_now([], ["bed"]) == ["bed"] == clicked_now(["bed", "lamp"], ["lamp"])
    assert told.causes.rows


def test_where_evidence_and_effect_disagree_it_is_said(cache, run, known):
    network = causes.open_layer(run, LAYER)
    for image in run.sql("SELECT id FROM images ORDER BY image")["id"]:
        told = causes.causes(run, network, known, image, "scc").causes
        if told.disagreement:
            break
    said = text_of(show("pages/4_Explain.py", image=image))
    assert "Evidence and measured effect disagree" in said and told.disagreement in said
    agreeing = next(
        i
        for i in run.sql("SELECT id FROM images ORDER BY image")["id"]
        if not causes.causes(run, network, known, i, "scc").causes.disagreement
    )
    assert "disagree" not in text_of(show("pages/4_Explain.py", image=agreeing))


def test_a_photo_of_ones_own_says_why_nothing_is_removed(cache):
    assert "nothing can be removed by name" in text_of(show("pages/4_Explain.py", view="own"))
