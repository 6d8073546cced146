"""What pages ask of a run, recomputed slowly."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from core.dissect.counts import upsample_torch
from core.dissect.labels import null_distribution, unit_labels
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import upsample
from core.foundation.intervals import interval
from core.views.findings import findings
from core.views.images import (
    Filter,
    concept_id,
    concepts,
    confusion,
    gallery,
    predictions,
    search_images,
)
from core.views.pictures import active_region, label_planes, mask_photo, region_photo, thumbnail
from core.views.units import (
    active_units,
    detected,
    peak_histogram,
    search_units,
    unit_concepts,
    unit_facts,
    unit_images,
    unit_scenes,
    unit_table,
)
from core.views.units import peaks as peaks_view
from tests.two_runs import LAYER


def test_lit_region_is_what_was_counted(run):
    """Every stored |A_t(x)|, again from maps and threshold; and pixel by pixel as in torch."""
    import torch

    hits = run.sql("SELECT l.name, image, unit, hits FROM hits JOIN layers l USING (layer)")
    for row in hits.sample(80, random_state=0).itertuples():
        assert active_region(run, row.name, row.unit, row.image).sum() == row.hits
    cells = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    whole = upsample_torch(torch.from_numpy(cells)[None], 12, 31)[0].numpy()
    np.testing.assert_array_equal(upsample(cells, 12, 31), whole)


def test_unit_table_has_every_unit_and_its_label(run):
    for denominator in ("all", "annotated"):
        table = unit_table(run, LAYER, denominator)
        assert table["unit"].tolist() == list(range(12))
        best = unit_labels(run, LAYER, denominator).set_index("unit")
        null = null_distribution(run, LAYER, denominator)
        for row in table.dropna(subset="name").itertuples():
            assert row.iou == best.loc[row.unit, "iou"]
            own = null[row.unit]
            reached = (own >= np.float32(row.iou)).sum()
            assert row.chance == pytest.approx((1 + reached) / (1 + len(own)))
        own = unit_concepts(run, LAYER, 4, denominator, 50)
        assert own["iou"].is_monotonic_decreasing
        assert own["iou"].iloc[0] == table.loc[4, "iou"]


def test_confusion_and_gallery_agree(run):
    images = run.sql("SELECT * FROM images")
    table = confusion(run)
    assert table["images"].sum() == len(images)
    for row in table.itertuples():
        choice = Filter(scene=row.scene, predicted=row.predicted)
        total, shown = gallery(run, choice, size=5)
        assert total == row.images and len(shown) == min(5, total)
    split = confusion(run, "train")
    assert split["images"].sum() == (images["split"] == "train").sum()
    assert table.groupby("scene")["share"].sum().to_numpy() == pytest.approx(1)


def test_gallery_pages_without_gaps(run):
    seen: list[int] = []
    for page in range(1, 8):
        total, frame = gallery(run, Filter(), page, 10)
        seen += frame["image"].tolist() if page <= -(-total // 10) else []
    assert sorted(seen) == run.sql("SELECT image FROM images ORDER BY 1")["image"].tolist()


def test_gallery_by_concept(run):
    areas = run.sql("SELECT image FROM areas JOIN concepts USING (concept) WHERE name = 'thing 2'")
    total, frame = gallery(run, Filter(concept="thing 2"), size=1000)
    assert total == len(areas) and set(frame["image"]) == set(areas["image"])


def test_predictions_are_the_softmax(run):
    logits = run.array("logits")[11].astype(np.float64)
    frame = predictions(run, 11)
    chances = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(frame["probability"].head(3), np.sort(chances)[::-1])
    assert frame["true"].sum() == 1


def test_unit_images_and_overlaps(run):
    concept = concept_id(run, "thing 3")
    top = unit_images(run, LAYER, 2, concept, 8)
    labels = run.array("labels")
    assert top["peak"].is_monotonic_decreasing
    for row in top.itertuples():
        lit = active_region(run, LAYER, 2, row.image)
        area = (labels[row.image] == concept).any(0)
        assert row.iou == pytest.approx((lit & area).sum() / (lit | area).sum())


def test_active_units_rank_and_overlap_here(run):
    image = int(run.sql("SELECT image FROM hits WHERE layer = 1 LIMIT 1")["image"].iloc[0])
    labels = run.array("labels")[image]
    for definition in ("image", "dataset_normalised"):
        frame = active_units(run, LAYER, image, "all", definition)
        for row in frame.itertuples():
            peaks = peaks_view(run, LAYER, row.unit)
            place = run.sql("SELECT image FROM images ORDER BY image")["image"].tolist()
            mine = peaks[place.index(image)]
            active = set(
                run.sql("SELECT image FROM hits WHERE layer = 1 AND unit = ?", [row.unit])["image"]
            )
            higher = [p for p, i in zip(peaks, place, strict=True) if p > mine and i in active]
            assert row.rank == 1 + len(higher) and row.images == len(active)
        if definition == "image":
            lit = active_region(run, LAYER, int(frame["unit"].iloc[0]), image)
            best = max(
                (lit & (labels == c).any(0)).sum() / (lit | (labels == c).any(0)).sum()
                for c in np.unique(labels[labels > 0])
            )
            assert frame["iou_here"].iloc[0] == pytest.approx(best)


def test_peaks_scenes_and_search(run):
    threshold = unit_facts(run, LAYER, 6).threshold
    values = peaks_view(run, LAYER, 6)
    bins = peak_histogram(run, LAYER, 6)
    assert bins["images"].sum() == len(values) == 59
    assert bins.loc[bins["active"], "images"].sum() == (values > threshold).sum()
    scenes = unit_scenes(run, LAYER, 6)
    pooled = run.array(f"pooled-{LAYER}")[:, 6]
    owners = run.sql("SELECT image, name FROM images JOIN scenes USING (scene)")
    for row in scenes.itertuples():
        own = owners.loc[owners["name"] == row.scene, "image"]
        assert row.mean == pytest.approx(pooled[own].mean(), rel=1e-5)
        assert row.images == len(own)
    found = search_units(run, LAYER, 2)
    assert found["iou"].is_monotonic_decreasing
    images = search_images(run, 2, 5)
    labels = run.array("labels")
    best = max((labels[i] == 2).any(0).mean() for i in range(len(labels)))
    assert images["share"].iloc[0] == pytest.approx(best)


def test_detected_counts_only_what_beats_chance(run):
    table = unit_table(run, LAYER)
    assert detected(run, LAYER)["units"].sum() == table["above"].sum()
    assert detected(run, LAYER, above=False)["units"].sum() == table["name"].count()


def test_pictures_are_pictures(run):
    for made in (
        thumbnail(run, 3, 100),
        region_photo(run, LAYER, 3, 3, 100),
        mask_photo(run, 3, 1, side=100),
        mask_photo(run, 3, only=2, side=100),
    ):
        picture = Image.open(io.BytesIO(made))
        assert picture.format == "JPEG" and max(picture.size) == 100


def test_findings_are_true(run):
    for found in findings(run, LAYER):
        if found.page == "scenes":
            choice = Filter(
                found.address["scene"], found.address["predicted"], split=found.address["split"]
            )
            total, _ = gallery(run, choice)
            assert f": {total} of " in found.text
        else:
            assert int(found.address["unit"]) == found.unit


def test_questions_with_a_slip(run, bare):
    with pytest.raises(UnitscopeError, match="nearest: thing 4"):
        concept_id(run, "thing 44")
    with pytest.raises(UnitscopeError, match=r"units are 0 to 11; the nearest is 11"):
        unit_facts(run, LAYER, 12)
    with pytest.raises(UnitscopeError, match="kept no activation maps"):
        active_region(bare, LAYER, 0, 0)
    # Peaks are there even where maps are not: one an image, above T_t where it is active.
    peaks = peaks_view(bare, LAYER, 3)
    assert len(peaks) == 59
    stored = bare.sql("SELECT peak FROM hits WHERE layer = 0 AND unit = 3 ORDER BY image")["peak"]
    assert set(stored) <= set(peaks)


def test_interval_is_wilson():
    assert interval(0, 10)[0] == pytest.approx(0, abs=1e-12)
    low, high = interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_label_planes_say_what_is_where(run):
    planes = label_planes(run, 10)
    labels = np.asarray(run.array("labels")[10])
    assert (planes.height, planes.width) == labels.shape[1:]
    for text, plane in zip(planes.planes, labels, strict=True):
        back = np.frombuffer(base64.b64decode(text), "<u2").reshape(plane.shape)
        assert np.array_equal(back, plane)
    assert set(planes.names) == set(np.unique(labels).tolist()) - {0}
    known = concepts(run).set_index("concept")
    assert all(planes.names[c] == (known["shown"][c], known["name"][c]) for c in planes.names)
