"""A dictionary's features are units: dissected, toggled, exported and explained like any other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.ablation.edits import Edit
from core.ablation.export import write_edit
from core.ablation.toggler import prepare
from core.dissect.labels import unit_labels
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import open_model
from core.foundation.settings import Settings
from core.labelling.methods import label_units
from core.labelling.probe import open_probe
from core.models.dictionary import Dictionary, Origin, read_dictionary, write_dictionary
from core.models.forward import Forward
from core.models.head import CLOSE
from core.models.load import load_model
from core.runs.run_file import Run
from tests import tiny
from tests.ablation.networks import hooked_logits, photo_run, same_predictions, seen_photos

EDITS = [Edit((0, 3, 11)), Edit((1,), 2.0), Edit((2,), clamp=0.4)]
CODES = "dictionary.codes"


def test_the_run_is_that_of_the_network_with_more_units(tiny_run, features_run, dictionary_file):
    run = features_run
    assert run.unit_count(CODES) == 20 and run.unit_count("body.3") == 12
    assert run.digest != tiny_run.digest
    np.testing.assert_array_equal(run.array("logits"), tiny_run.array("logits"))
    np.testing.assert_array_equal(run.array("maps-body.3"), tiny_run.array("maps-body.3"))
    # The codes of the layer's maps, by the dictionary alone.
    made = read_dictionary(dictionary_file)
    maps = torch.from_numpy(np.asarray(run.array("maps-body.3"), np.float32))
    wanted = made.encode(maps.movedim(1, -1)).movedim(-1, 1).numpy()
    got = np.asarray(run.array(f"maps-{CODES}"), np.float32)
    near = np.isclose(got, wanted, atol=5e-3).all(1)
    assert near.mean() > 0.99  # maps are kept in half precision, and the k-th largest may be close
    assert (got > 0).sum(1).max() == 3


def test_features_get_labels_and_chance_like_units(features_run):
    frame = unit_labels(features_run, CODES)
    assert len(frame) >= 10 and frame["iou"].between(0, 1).all()
    assert frame["chance"].notna().all()
    probe = open_probe(features_run, CODES, ["train"])
    labels = label_units(probe, "annotated")
    assert labels.labelled.sum() >= 10 and len(labels.terms) == 20


def test_toggling_a_feature_equals_a_hook_by_hand(features_run):
    toggler = prepare(features_run, CODES)
    assert toggler.method == "closed form" and toggler.check.agreement <= CLOSE
    assert "codes go through the decoder" in toggler.check.why
    for edits in ([Edit((4,))], EDITS, [Edit((5,), -3.0)], [Edit((0, 1), clamp=40.0)]):
        wanted = hooked_logits(features_run, CODES, edits, rounded=False)
        got = toggler.logits_after(edits)
        assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
        same_predictions(got, wanted)
    moved = hooked_logits(features_run, CODES, EDITS, rounded=False)
    assert np.abs(moved - features_run.array("logits")).max() > 1e-3
    np.testing.assert_array_equal(toggler.logits(), features_run.array("logits"))


def test_the_layer_before_is_still_replayed(features_run):
    toggler = prepare(features_run, "body.3")
    assert toggler.method == "closed form"
    wanted = hooked_logits(features_run, "body.3", [Edit((0, 2))], rounded=False)
    got = toggler.logits_after([Edit((0, 2))])
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize(
    ("spec", "layer", "units"),
    [
        (tiny.SPEC, "body.1", 8),
        ("python:tests.ablation.networks:inner", "inside", 8),
        ("python:tests.models.test_dictionary:tokens", "blocks.0", 16),
    ],
)
def test_behind_other_layers_the_network_runs_whole(tmp_path, spec, layer, units):
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(20, units, generator=random)
    made = Dictionary(
        rows,
        torch.zeros(20),
        rows.T / rows.square().sum(1),
        torch.zeros(units),
        3,
        origin=Origin(load_model(spec).digest(), layer, spec),
    )
    write_dictionary(made, tmp_path / "d.pt")
    run = photo_run(tmp_path, f"dictionary:{tmp_path / 'd.pt'}@{spec}", (CODES,))
    toggler = prepare(run, CODES)
    assert toggler.method == "whole forward" and toggler.check.photos == "dataset"
    wanted = hooked_logits(run, CODES, EDITS, rounded=False)
    got = toggler.logits_after(EDITS)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    assert np.abs(wanted - run.array("logits")).max() > 1e-4
    assert np.abs(toggler.logits() - run.array("logits")).max() <= CLOSE


@pytest.mark.slow
def test_the_edited_network_is_exported(features_run, tmp_path):
    toggler = prepare(features_run, CODES)
    told = write_edit(toggler, EDITS, tmp_path, "by a test")
    assert set(told.files) == {"state", "program", "text"}
    assert "without the dictionary cannot do that" in told.left_out["folded"]
    assert max(told.differences.values()) <= CLOSE
    photos = seen_photos(features_run)[:20]
    edited = load_model(f"python:core.ablation.export:load:{told.files['state']}")
    passed = Forward(edited, [CODES])(photos)
    wanted = hooked_logits(features_run, CODES, EDITS, rounded=False)[:20]
    assert np.abs(passed.logits - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    maps = passed.layers[CODES].maps.float()
    assert (maps[:, [0, 3, 11]] == 0).all() and (maps[:, 2] - 0.4).abs().max() < 1e-3


def test_a_photo_is_explained_by_features(features_run, facts):
    from PIL import Image

    from core.explain.photo import explain_photo
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts

    cores = all_core_concepts(features_run, open_knowledge(facts))
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8))
    account = explain_photo(features_run, next(iter(cores.values())), photo, layer=CODES)
    assert account.layer == CODES and account.predicted in tiny.SCENES


def test_evidence_of_features_by_gradients(features_run):
    from core.attribution.case import Opened
    from core.attribution.evidence import INTEGRATED, evidence

    opened = Opened.of(features_run, CODES)
    assert opened.head is None and opened.tail is None
    case = opened.case(int(opened.recorded.numbers[0]))
    found = evidence(case, 0, 1, INTEGRATED)
    # Codes enter linearly: evidence is what the margin loses with all of them switched off.
    assert found.places.shape[0] == 20
    off = hooked_logits(features_run, CODES, [Edit(tuple(range(20)))], rounded=False)[0]
    plain = np.asarray(features_run.array("logits"))[0]
    lost = (plain[0] - plain[1]) - (off[0] - off[1])
    assert abs(found.places.sum() - lost) < 1e-4


def test_a_changed_dictionary_is_no_longer_the_runs(features_run, dictionary_file):
    from core.foundation.errors import UnitscopeError

    whole = dictionary_file.read_bytes()
    made = read_dictionary(dictionary_file)
    state = made.state()
    state["decoder"] = state["decoder"] * 1.01
    try:
        write_dictionary(Dictionary(**state, k=made.k, origin=made.origin), dictionary_file)
        with pytest.raises(UnitscopeError, match="no longer the network of run"):
            open_model(features_run)
    finally:
        dictionary_file.write_bytes(whole)


def test_maps_stay_in_half_precision_where_means_decide(features_run):
    assert features_run.settings.map_type == "float16"


def test_mixed_precision_changes_nothing_either(dictionary_file, tmp_path):
    photos = tiny.write_folder(tmp_path / "photos", 12)
    runs = []
    for spec in (tiny.SPEC, f"dictionary:{dictionary_file}@{tiny.SPEC}"):
        settings = Settings(
            f"folder:{photos}", spec, layers=("body.3",), q=0.1, shuffles=0, precision="bfloat16"
        )
        runs.append(Run(execute(plan(settings), tmp_path, threads=1).path))
    np.testing.assert_array_equal(*(run.array("logits") for run in runs))
