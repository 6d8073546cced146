"""Published predictions as a run without photos."""

from __future__ import annotations

import pytest

from core.dissect.predictions import import_predictions, per_scene
from core.foundation.errors import UnitscopeError
from core.runs.store import find_run


def test_published_predictions_give_the_published_accuracy(data_dir, tmp_path):
    """8,110 of 15,070 right (53.82 %), 361 scenes; street and bedroom counted by hand."""
    run = import_predictions(
        data_dir / "reference" / "eiic_resnet18_predictions.csv",
        data_dir / "ade20k" / "index_ade20k.csv",
        "ade20k",
        tmp_path,
    )
    accuracy = run.info["accuracy"]
    assert (accuracy["right"], accuracy["scored"]) == (8110, 15070)
    assert run.info["images"]["used"] == 22210
    table = per_scene(run).set_index("scene")
    assert len(table) == 361 and table["images"].sum() == 15070
    assert (table["images"] < 5).sum() == 43 and (table["images"] == 1).sum() == 13
    assert table.loc["bedroom", "confused_with"] == "bedchamber"
    ids = run.sql("SELECT id FROM images ORDER BY image LIMIT 1")["id"]
    assert ids[0] == "ade20k/ADE_train_00003891.jpg"
    run.close()
    assert find_run("latest", tmp_path) == run.path


def test_small_table_and_mistakes(tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("pred,target\nden-s,den-s \nden-s,attic-s\nden-s,unk\n")
    run = import_predictions(table, root=tmp_path / "runs")
    assert run.info["accuracy"]["scored"] == 2 and run.info["accuracy"]["right"] == 1
    assert per_scene(run).to_dict("records")[0]["scene"] == "attic"
    assert import_predictions(table, root=tmp_path / "runs").digest == run.digest
    index = tmp_path / "i.csv"
    index.write_text("image,split\na.jpg,val\n")
    with pytest.raises(UnitscopeError, match="has 3 rows"):
        import_predictions(table, index, root=tmp_path / "runs")
    table.write_text("predicted,target\na,b\n")
    with pytest.raises(UnitscopeError, match="no column 'pred'"):
        import_predictions(table, root=tmp_path / "runs")
