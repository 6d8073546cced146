"""The app's pages on a small finished run, and what core.views answers, recomputed slowly."""

from __future__ import annotations

import base64
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from core.dissect.counts import upsample_torch
from core.dissect.labels import null_distribution, unit_labels
from core.dissect.pipeline import Settings, execute, plan
from core.dissect.predictions import import_predictions
from core.figures import units as unit_figures
from core.figures.base import Caption
from core.figures.export import FORMATS, export, latex
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import upsample
from core.foundation.intervals import interval
from core.runs.run_file import Run
from core.views import units as unit_views
from core.views.findings import findings
from core.views.images import (
    Filter,
    concept_id,
    concepts,
    confused_pairs,
    confusion,
    gallery,
    image_facts,
    image_number,
    predictions,
    search_images,
)
from core.views.pictures import active_region, label_planes, mask_photo, region_photo, thumbnail
from core.views.runs import resolve
from core.views.units import (
    active_units,
    has_maps,
    peak_histogram,
    search_units,
    unit_concepts,
    unit_facts,
    unit_images,
    unit_scenes,
    unit_table,
)
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["app.py", "pages/1_Scenes.py", "pages/2_Units.py", "pages/7_Compare.py", "pages/9_Runs.py"]
LAYER = "body.3"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with two finished runs: one with maps and two layers, one without maps."""
    folder = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 60)
    (folder / "images" / "007.png").write_bytes(b"not a photo")
    out = tmp_path_factory.mktemp("cache")
    more = Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), q=0.05, shuffles=0, keep_maps=False)
    execute(plan(more), out).close()
    time.sleep(0.05)  # the newest run is the one shown, by file time
    both = Settings(f"folder:{folder}", tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=3)
    execute(plan(both), out).close()
    return out


@pytest.fixture(scope="module")
def run(root) -> Run:
    return Run(resolve(None, root))


@pytest.fixture(scope="module")
def bare(root) -> Run:
    """The run without maps and without shuffles."""
    return next(r for r in map(Run, root.glob("*.duckdb")) if not has_maps(r, LAYER))


@pytest.fixture
def cache(monkeypatch, root) -> Path:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return root


def show(page: str, **address: str) -> AppTest:
    """A page opened at an address, on the app as a whole, as the server runs it."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for name, value in address.items():
        at.query_params[name] = value
    if page != "app.py":
        at.switch_page(page)
    at.run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def text_of(at: AppTest) -> str:
    """All that a page says, widgets and charts aside."""
    kinds = ("title", "subheader", "markdown", "caption", "warning", "info", "code")
    said = [str(e.value) for kind in kinds for e in getattr(at, kind)]
    said += [e.proto.body for e in at.get("html")]
    return "\n".join([*said, *(f"{m.label} {m.value}" for m in at.metric)])


def specs(at: AppTest) -> list[dict]:
    """Vega-Lite specs of the charts on a page."""
    return [json.loads(c.proto.spec) for c in at.get("vega_lite_chart")]


# -- pages ----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_by_its_own_address(cache, page):
    at = show(page)
    assert at.title and not at.warning and not at.error


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_is_no_run(tmp_path, monkeypatch, page):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "nothing"))
    at = show(page)
    assert any("python -m core run --dataset rooms" in code.value for code in at.code)


def test_overview_tells_what_the_run_is(cache, run):
    at = show("app.py")
    told = text_of(at)
    for word in ("tiny", LAYER, "q = 0.05", "59 used", "1 left out", run.digest):
        assert word in told, word
    above = int(unit_table(run, LAYER)["above"].sum())
    assert f"<b>{above}</b> of 12 units" in told
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Do the units mean anything?" in titles and "How often the network is right" in titles


def test_figures_say_what_they_were_measured_on(cache):
    for page, address in (("app.py", {}), ("pages/2_Units.py", {"unit": "3"})):
        for spec in specs(show(page, definition="annotated", **address)):
            lines = " ".join(spec["title"]["subtitle"])
            assert "tiny · " in lines
            if "right" not in spec["title"]["text"]:
                assert LAYER in lines and "only annotated pixels" in lines


def test_deep_link_to_a_unit_and_layer(cache, run):
    at = show("pages/2_Units.py", unit="5", layer="body.1")
    best = unit_concepts(run, "body.1", 5).iloc[0]
    assert at.title[0].value == f"Unit 5: {best['name']}"
    assert at.metric[0].value == f"{best['iou']:.3f}"
    assert len(specs(at)) == 3


def test_deep_link_to_an_image(cache, run):
    at = show("pages/1_Scenes.py", image="010")
    facts = image_facts(run, image_number(run, "010"))
    assert facts.scene_name in at.title[0].value.lower()
    assert "Photo 010" in text_of(at)


def test_a_run_is_found_by_the_beginning_of_its_name(cache, bare):
    at = show("app.py", run=bare.digest[:6])
    assert bare.digest in text_of(at)


@pytest.mark.parametrize(
    ("page", "address", "said", "link"),
    [
        ("app.py", {"run": "0123456789abcdef"}, "Unknown run", "Open tiny"),
        ("pages/2_Units.py", {"unit": "999"}, "has no unit 999", "Open unit 11"),
        ("pages/2_Units.py", {"unit": "chair"}, "units are numbers", "Open unit 0"),
        ("pages/2_Units.py", {"concept": "thing 22"}, "no concept", "Search thing 2"),
        ("pages/2_Units.py", {"layer": "body.33"}, "layer of this run", "Open body.3"),
        ("pages/1_Scenes.py", {"image": "10"}, "no image", "Open 010"),
        ("pages/1_Scenes.py", {"scene": "cellars"}, "no scene", "Show cellar"),
    ],
)
def test_an_address_with_a_slip_names_the_nearest(cache, page, address, said, link):
    at = show(page, **address)
    assert said in at.warning[0].value
    assert any(link in e.proto.label for e in at.get("page_link")), said


def test_a_run_without_maps_says_so(cache, bare):
    at = show("pages/2_Units.py", run=bare.digest, unit="3")
    assert "kept no activation maps" in text_of(at)
    assert "not measured" in text_of(at)
    at = show("pages/1_Scenes.py", run=bare.digest, image="010")
    assert "kept no activation maps" in text_of(at)


def test_filters_come_from_the_address_and_go_there(cache, run):
    at = show("pages/1_Scenes.py", scene="barn", outcome="wrong")
    total, _ = gallery(run, Filter(scene="barn", outcome="wrong"))
    assert f"{total} photo" in text_of(at)
    at.selectbox(key="at-scene").set_value("attic").run()
    assert at.query_params["scene"] in ("attic", ["attic"])


def test_runs_lists_what_is_finished_unfinished_and_left_out(cache, root, run):
    for name, age in (("aaaa", 1), ("bbbb", 600)):
        folder = root / f"{name}.partial"
        folder.mkdir(exist_ok=True)
        beat = {
            "stage": "count",
            "done": 30,
            "total": 60,
            "rate": 4.0,
            "left": 7.5,
            "time": time.time() - age,
            "dataset": "folder:x",
            "model": name,
            "layers": [LAYER],
            "request": {"dataset": "folder:x", "model": name, "q": 0.02},
        }
        (folder / "progress.json").write_text(json.dumps(beat))
    (root / "cccc.duckdb").write_bytes(b"torn")
    at = show("pages/9_Runs.py", run=run.digest)
    assert len(at.dataframe[0].value) == 2
    # The torn one, with the reason; then the files that the chosen run left out.
    assert at.dataframe[1].value["file"].tolist() == ["cccc.duckdb"]
    assert "is not a run file" in at.dataframe[1].value["why"].iloc[0]
    assert "007.png" in at.dataframe[2].value["file"].iloc[0]
    told = text_of(at)
    assert "Stopped." in told and "No sign of life for 10 min" in told
    assert "One file cannot be read" in told
    again = "python -m core run --dataset folder:x --model bbbb --q 0.02"
    assert again in [block.value for block in at.code]
    (root / "cccc.duckdb").unlink()
    for name in ("aaaa", "bbbb"):
        (root / f"{name}.partial" / "progress.json").unlink()
        (root / f"{name}.partial").rmdir()


# -- core.views against slow recomputation -------------------------------------------------


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
            peaks = unit_views.peaks(run, LAYER, row.unit)
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
    values = unit_views.peaks(run, LAYER, 6)
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
    assert unit_views.detected(run, LAYER)["units"].sum() == table["above"].sum()
    assert unit_views.detected(run, LAYER, above=False)["units"].sum() == table["name"].count()


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
            choice = Filter(found.address["scene"], found.address["predicted"])
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
    peaks = unit_views.peaks(bare, LAYER, 3)
    assert len(peaks) == 59
    stored = bare.sql("SELECT peak FROM hits WHERE layer = 0 AND unit = 3 ORDER BY image")["peak"]
    assert set(stored) <= set(peaks)


def test_interval_is_wilson():
    assert interval(0, 10)[0] == pytest.approx(0, abs=1e-12)
    low, high = interval(8, 10)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


# -- figures --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(FORMATS))
@pytest.mark.parametrize("dark", [False, True])
def test_figures_are_exported_whole(run, kind, dark):
    caption = Caption("tiny", "net", LAYER, "all pixels", "test")
    chart = unit_figures.detected(
        unit_views.detected(run, LAYER, above=False), caption, dark, above=False
    )
    made = export(chart, kind, dark)
    start = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}[kind]
    assert made.startswith(start) and len(made) > 2000
    if kind == "pdf":
        assert b"/FontFile" in made, "the words are missing"
    if kind == "png":
        pixels = np.asarray(Image.open(io.BytesIO(made)).convert("L"), int)
        assert np.ptp(pixels[:90]) > 150, "the title is missing"
    if kind == "svg":
        for word in ("Concepts", "tiny · net · body.3", "all pixels · test"):
            assert word in made.decode(), word


def test_an_unknown_format_is_refused(run):
    with pytest.raises(UnitscopeError, match="figure format"):
        export(None, "gif")


def test_latex_escapes_and_aligns():
    frame = pd.DataFrame({"a_b": ["50 % & more"], "n": [np.nan]})
    text = latex(frame)
    assert r"a\_b & n" in text and r"50 \% \& more & --" in text
    assert r"\begin{tabular}{lr}" in text


# -- published predictions ------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch, tmp_path) -> Run:
    """A run without photos, layers and confidence: six images of three scenes, one unscored."""
    table = tmp_path / "p.csv"
    rows = ["den-s,den-s", "den-s,attic-s", "den-s,attic-s", "barn-s,barn-s", "den-s,barn-s"]
    table.write_text("\n".join(["pred,target", *rows, "unk,unk"]) + "\n")
    root = tmp_path / "cache"
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return import_predictions(table, name="published", root=root)


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("app.py", {}),
        ("pages/1_Scenes.py", {}),
        ("pages/1_Scenes.py", {"view": "matrix", "scene": "attic", "predicted": "den"}),
        ("pages/1_Scenes.py", {"image": "row 2"}),
        ("pages/1_Scenes.py", {"image": "row 6"}),
        ("pages/9_Runs.py", {}),
    ],
)
def test_every_page_shows_published_predictions(published, page, address):
    at = show(page, **address)
    assert at.title and not at.warning and not at.error


def test_overview_of_published_predictions(published):
    at = show("app.py")
    told = text_of(at)
    assert "<b>2</b> of 5 scored images" in told and "(40.0%)" in told
    table = at.dataframe[0].value
    assert table.columns[0] == "scene" and len(table) == 3
    assert table.set_index("scene").loc["attic", "mostly taken for"] == "den"


def test_published_predictions_are_filtered_and_have_no_units(published):
    at = show("pages/1_Scenes.py", scene="attic", outcome="wrong")
    assert at.dataframe[0].value["image"].tolist() == ["row 2", "row 3"]
    assert "no photo to show" in text_of(show("pages/1_Scenes.py", image="row 2"))
    for address in ({}, {"unit": "3"}):
        assert "has no units" in show("pages/2_Units.py", **address).warning[0].value
    pairs = confused_pairs(published)
    assert pairs.iloc[0].tolist() == ["attic", "den", 2, 1.0]
    assert len(pairs) == 2 and pairs["share"].iloc[1] == pytest.approx(0.5)


def test_many_scenes_are_confused_in_a_list(monkeypatch, tmp_path):
    table = tmp_path / "p.csv"
    names = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    rows = [f"{said},{name}" for said, name in zip(names[1:], names, strict=False)]
    table.write_text("\n".join(["pred,target", *rows]) + "\n")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    import_predictions(table, root=tmp_path / "cache")
    at = show("pages/1_Scenes.py", view="matrix")
    assert not specs(at) and len(at.dataframe[0].value) == 50


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
