"""What scenes rest on, of effects whose cause is known."""

import numpy as np
import pytest

from core.attribution.chance import sign_flip
from core.attribution.reliance import reliance, rival
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import spread
from core.foundation.vocabulary import SceneStanding
from tests.attribution.made import CONCEPTS, SCENES, core_of, made

PULLS = {("bed", "attic"): 1.0, ("lamp", "barn"): 1.0, ("cow", "attic"): -0.8}
CORE = core_of({"attic": ("bed", "hay"), "barn": ("cow",)})


@pytest.fixture(scope="module")
def found():
    return reliance(made(40, PULLS, noise=0.15), CORE, worth=0.05)


def standing(found, scene, name):
    rows = found.rows
    return rows[(rows["scene"] == scene) & (rows["name"] == name)]["standing"].item()


def test_standings_are_what_was_built_in(found):
    assert standing(found, "attic", "bed") == SceneStanding.CORE
    assert standing(found, "barn", "lamp") == SceneStanding.SHORTCUT
    assert standing(found, "attic", "hay") == SceneStanding.IGNORED
    assert standing(found, "attic", "cow") == SceneStanding.AGAINST
    assert standing(found, "cellar", "wine") == SceneStanding.NONE
    # What speaks against the attic speaks for the others, one of which has it in its core.
    assert found.candidates()[["scene", "name"]].values.tolist() == [
        ["barn", "lamp"],
        ["cellar", "cow"],
    ]
    assert "hay" in found.ignored("attic")["name"].tolist()


def test_a_shortcut_pulls_photos_of_other_scenes_and_comes_first(found):
    listed = found.shortcuts()
    assert listed[["scene", "name"]].values.tolist()[0] == ["barn", "lamp"]
    assert found.shortcuts("cellar").empty or found.shortcuts("cellar")["name"][0] != "lamp"
    assert found.shortcuts("barn", all_rows=True)["name"].iloc[0] == "lamp"
    assert "bed" in found.shortcuts(core_too=True)["name"].tolist()
    with pytest.raises(UnitscopeError, match="nearest"):
        found.shortcuts("bran")


def test_what_a_scene_never_shows_is_none_of_its_shortcuts():
    measured = made(40, PULLS, noise=0.15)
    rows = measured.rows
    barn = (measured.images["target"] == 1).to_numpy()[rows["photo"]]
    lamps = np.flatnonzero((rows["name"] == "lamp") & barn)
    measured.control[lamps[4:]] = np.nan
    found = reliance(measured, CORE)
    assert "lamp" not in found.shortcuts("barn")["name"].tolist()
    assert found.shortcuts("barn", all_rows=True)["name"].iloc[0] == "lamp"


def slow_rows(measured, scene, name, margin):
    """Means over the photos of a scene, photo by photo."""
    k = SCENES.index(scene)
    d, effects, controls, said = [], [], [], []
    for r, row in measured.rows.iterrows():
        image = measured.images.iloc[row.photo]
        if image.target != k or row["name"] != name:
            continue

        def over(z, image=image):
            if margin == "others":
                return z[k] - np.mean([z[j] for j in range(3) if j != k])
            if image.predicted == k:
                return z[k] - z[image.against]
            return z[k] - z[image.predicted]

        before = over(measured.before[row.photo].astype(float))
        effect = before - np.mean([over(z.astype(float)) for z in measured.after[r]])
        control = before - over(measured.control[r].astype(float))
        if np.isnan(control):
            continue
        d.append(effect - control)
        effects.append(effect)
        controls.append(control)
        own = measured.evidence[r, 1]
        if margin == "rival":
            own = measured.evidence[r, 0] * (1 if image.predicted == k else -1)
        said.append(own)
    return d, effects, controls, said


@pytest.mark.parametrize("margin", ["others", "rival"])
def test_rows_are_means_over_the_photos_of_the_scene(margin):
    measured = made(12, PULLS, noise=1.5, seed=4)
    measured.control[::7] = np.nan
    found = reliance(measured, CORE, margin, worth=0.0)
    assert (measured.images["predicted"] != measured.images["target"]).any()
    for row in found.rows.itertuples():
        d, effects, controls, said = slow_rows(measured, row.scene, row.name, margin)
        assert row.photos == len(d) >= 5
        assert (row.net, row.low, row.high) == pytest.approx(spread(d), abs=1e-5)
        assert row.effect == pytest.approx(np.mean(effects), abs=1e-5)
        assert row.control == pytest.approx(np.mean(controls), abs=1e-5)
        assert row.evidence == pytest.approx(np.mean(said), abs=1e-5)
        assert row.share == pytest.approx(row.net / found.leads[row.scene])
        assert row.p == pytest.approx(sign_flip(np.array(d)[:, None])[0], abs=1e-3)
    bare = found.rows["bare"].sum()
    assert bare and bare + found.rows["photos"].sum() <= len(measured.rows)


def test_pulls_are_over_all_photos_that_show_a_concept():
    measured = made(15, PULLS, seed=2)
    found = reliance(measured, CORE)
    row = found.pulls.set_index(["scene", "name"]).loc["barn", "lamp"]
    shows = measured.rows["name"] == "lamp"
    k = np.full(len(measured.images), 1)
    d = (measured.effect(k) - measured.control_effect(k))[shows]
    away = measured.images["target"].to_numpy()[measured.rows["photo"][shows]] != 1
    assert row.photos == len(d) and (row.own, row.others) == ((~away).sum(), away.sum())
    assert row.net == pytest.approx(d.mean())
    assert row.elsewhere == pytest.approx(d[away].mean())
    assert len(found.pulls) == len(SCENES) * len(CONCEPTS)


def test_where_nothing_is_relied_on_nothing_is_found():
    alarms = [len(reliance(made(8, seed=s), CORE).candidates()) for s in range(8)]
    assert sum(a > 0 for a in alarms) <= 1


def test_rare_concepts_and_unknown_margins():
    few = made(6, PULLS, shown=0.4)
    assert (reliance(few, CORE).rows["photos"] >= 5).all()
    assert reliance(few, CORE, least=100).rows.empty
    with pytest.raises(UnitscopeError, match="others"):
        reliance(few, CORE, "other")


def test_the_rival_of_a_wrong_answer_is_the_answer():
    measured = made(10, noise=2.5)
    images = measured.images
    wrong = (images["predicted"] != images["target"]).to_numpy()
    assert wrong.any() and (rival(measured)[wrong] == images["predicted"][wrong]).all()
