"""Edited networks as files: the same predictions when loaded again."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from core.ablation.edits import Edit
from core.ablation.export import load, write_edit
from core.ablation.toggler import prepare
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Settings
from core.models.forward import Forward
from core.models.head import CLOSE
from core.models.load import load_model
from tests import tiny
from tests.ablation.networks import EDITS, hooked_logits, seen_photos


def test_an_edited_network_reloads_to_the_same_predictions(tiny_run, tmp_path):
    toggler = prepare(tiny_run)
    told = write_edit(toggler, EDITS, tmp_path, "by a test", ("state", "folded"))
    assert set(told.files) == {"state", "folded", "text"}
    assert max(told.differences.values()) <= CLOSE
    text = told.files["text"].read_text()
    for fact in (tiny_run.digest, "3 units disabled: 0, 2, 5", "by a test", "gained", "body.3"):
        assert fact in text
    module, info = load(told.files["state"])
    assert info["classes"] == list(tiny.SCENES)
    photos = seen_photos(tiny_run)[:40]
    forward = Forward(open_model(tiny_run), ["body.3"])
    with torch.inference_mode():
        got = module.eval()(forward.inputs(photos)).numpy()
    wanted = hooked_logits(tiny_run, "body.3", EDITS, rounded=False)[:40]
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    # Its SPEC is that of another network, whose own layer shows the edit.
    spec = f"python:core.ablation.export:load:{told.files['state']}"
    edited = load_model(spec)
    assert edited.digest() != open_model(tiny_run).digest()
    # Under the names that its module had before, too: SPECs in run files have them.
    for module in ("core.manipulate.edit", "core.ablation.edits"):
        old = load_model(spec.replace("core.ablation.export", module))
        assert old.digest() == edited.digest()
    maps = Forward(edited, ["body.3"])(photos).layers["body.3"].maps
    assert (maps[:, [0, 2, 5]] == 0).all() and (maps[:, 3] == 0.25).all()
    # The folded file is the plain architecture's.
    state = torch.load(told.files["folded"], weights_only=True)["state_dict"]
    plain = tiny.Net()
    plain.load_state_dict(state)
    with torch.inference_mode():
        got = plain.eval()(forward.inputs(photos)).numpy()
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    again = write_edit(toggler, EDITS, tmp_path / "again", "by a test", ("folded",))
    assert again.files["text"].name == told.files["text"].name


def test_an_edited_network_runs_through_the_pipeline(tiny_run, tmp_path):
    told = write_edit(prepare(tiny_run), Edit((0, 2, 5)), tmp_path, kinds=("state",))
    dataset = tiny_run.info["settings"]["dataset"]["spec"]
    spec = f"python:core.ablation.export:load:{told.files['state']}"
    request = Settings(dataset, spec, layers=("body.3",), q=0.05, shuffles=0)
    run = execute(plan(request), tmp_path / "runs", threads=1)
    after = told.effects["all"].after.predicted
    assert (run.sql("SELECT predicted FROM images ORDER BY image")["predicted"] == after).all()


@pytest.mark.slow
def test_an_exported_program_gives_the_same_logits(tiny_run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = write_edit(prepare(tiny_run, "body.1"), EDITS, tmp_path)
    assert set(told.files) == {"state", "program", "text"}
    assert "no linear head" in told.left_out["folded"]
    program = torch.export.load(told.files["program"]).module()
    inputs = Forward(open_model(tiny_run), ["body.1"]).inputs(seen_photos(tiny_run)[:7])
    wanted = hooked_logits(tiny_run, "body.1", EDITS, rounded=False)[:7]
    assert np.abs(program(inputs).numpy() - wanted).max() <= CLOSE * max(1.0, wanted.max())


def test_bad_edit_files_are_told(tiny_run, tmp_path):
    plain = tmp_path / "plain.pt"
    torch.save(tiny.Net().state_dict(), plain)
    with pytest.raises(UnitscopeError, match="was not written by"):
        load(plain)
    with pytest.raises(UnitscopeError, match="changes no unit"):
        write_edit(prepare(tiny_run), Edit((1,), 1.0), tmp_path)
    with pytest.raises(UnitscopeError, match="unknown kind of file"):
        write_edit(prepare(tiny_run), Edit((1,)), tmp_path, kinds=("onnx",))
