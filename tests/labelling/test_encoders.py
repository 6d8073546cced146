"""Encoders of photos and words: files of features, and what is kept beside a run."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import numpy as np
import pytest
from PIL import Image

from core.ablation.images import images_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.registry import Row
from core.labelling import encoders
from core.labelling.encoders import ENCODERS, Encoder, NetworkEncoder, load_encoder
from tests.labelling.feature_files import SIZE, arrays, write, write_folder

WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class Colours(NetworkEncoder):
    """Photos and words as colours: real numbers of real photos, and no network to wait for."""

    def __init__(self, version: str = "1"):
        super().__init__("colours", "colours")
        self.version, self.asked = version, 0

    def digest(self) -> str:
        return self.version

    def encode_photos(self, photos: Sequence[Image.Image]) -> np.ndarray:
        self.asked += len(photos)
        return np.array([np.asarray(photo, float).mean((0, 1)) for photo in photos])

    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        self.asked += len(words)
        return np.array([WORDS.get(word, (np.nan,) * 3) for word in words], np.float32)


@pytest.fixture(scope="module")
def held(tiny_run):
    return arrays(tiny_run)


# -- what a network makes -----------------------------------------------------------------------


def test_features_are_of_the_photos_that_are_asked_for(tiny_run):
    encoder = Colours("of photos")
    images = np.array([7, 2, 149, 2])
    found = encoder.image_features(tiny_run, images)
    for row, image in zip(found, images, strict=True):
        photo = np.asarray(Image.open(io.BytesIO(tiny_run.photo(int(image)))).convert("RGB"), float)
        np.testing.assert_allclose(row, photo.mean((0, 1)), rtol=1e-6)
    assert found.dtype == np.float32
    # Two shards of 64, and the last one of 22.
    assert encoder.asked == 64 + 22


def test_features_are_kept_and_shared_by_all_splits(tiny_run):
    first = Colours("kept")
    whole = first.image_features(tiny_run, np.arange(150))
    again = Colours("kept")
    some = again.image_features(tiny_run, np.array([3, 90]))
    assert again.asked == 0 and (some == whole[[3, 90]]).all()
    other = Colours("another digest")
    other.image_features(tiny_run, np.array([3]))
    assert other.asked == 64


def test_a_stopped_encoding_goes_on_where_it_was(tiny_run):
    seen: list[int] = []
    with pytest.raises(Stopped, match=r"64 of 150 photos are encoded"):
        Colours("stopped").image_features(
            tiny_run,
            np.arange(150),
            progress=lambda at: seen.append(at.done),
            stop=lambda: bool(seen and seen[-1]),
        )
    encoder = Colours("stopped")
    encoder.image_features(tiny_run, np.arange(150))
    assert encoder.asked == 150 - 64


def test_damaged_features_are_made_again(tiny_run):
    encoder = Colours("damaged")
    before = encoder.image_features(tiny_run, np.array([0]))
    folder = tiny_run.path.with_suffix(".derived")
    newest = max(folder.glob("encoded-*.npz"), key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(newest.read_bytes()[:100])
    assert (encoder.image_features(tiny_run, np.array([0])) == before).all()
    np.savez(newest, features=np.ones((3, 3), np.float32))
    assert (encoder.image_features(tiny_run, np.array([0])) == before).all()


def test_words_are_kept_too_and_unknown_ones_are_told(tiny_run, monkeypatch):
    monkeypatch.setattr(encoders, "WORD_SHARD", 2)
    found = Colours("words").word_features(tiny_run, ["blue", "mauve", "red"])
    assert found[0].tolist() == [0, 0, 1] and np.isnan(found[1]).all()
    again = Colours("words")
    assert np.array_equal(
        again.word_features(tiny_run, ["blue", "mauve", "red"]), found, equal_nan=True
    )
    assert again.asked == 0


def test_an_image_that_the_run_does_not_have_is_refused(tiny_run):
    with pytest.raises(UnitscopeError, match="has no image number 150"):
        Colours().image_features(tiny_run, np.array([0, 150]))


# -- files --------------------------------------------------------------------------------------


def test_rows_are_found_by_id_whatever_their_order(tiny_run, held, tmp_path):
    for spec in (write(tmp_path / "f.npz", held), write_folder(tmp_path / "folder", held)):
        encoder = load_encoder(spec)
        assert str(encoder) == spec and "known to whoever made them" in encoder.note
        images = np.array([5, 0, 77])
        found = encoder.image_features(tiny_run, images)
        ids = images_of(tiny_run).set_index("image")["id"]
        for row, image in zip(found, images, strict=True):
            at = held["image_ids"].tolist().index(ids[image])
            assert (row == held["image_features"][at]).all()
        words = encoder.word_features(tiny_run, ["thing 2", "Thing_2", "zebra"])
        at = held["words"].tolist().index("thing 2")
        assert (words[:2] == held["word_features"][at]).all() and np.isnan(words[2]).all()


def test_the_digest_is_of_the_content(held, tmp_path):
    one, two = write(tmp_path / "one.npz", held), write_folder(tmp_path / "two", held)
    digests = [load_encoder(spec).digest() for spec in (one, two)]
    (tmp_path / "two" / "words.txt").write_text("\n".join(held["words"][::-1]))
    assert load_encoder(two).digest() != digests[1]


def changed(held, **other):
    return {**held, **other}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda h: {k: v for k, v in h.items() if k != "image_ids"}, r"has no image_ids \(it has"),
        (lambda h: changed(h, image_ids=h["image_ids"][:-1]), "149 image_ids and 150 rows"),
        (lambda h: changed(h, image_ids=np.arange(150)), "a list of text is meant"),
        (
            lambda h: changed(h, image_ids=np.array(["a", *h["image_ids"][1:-1], "a"])),
            "image_ids has 'a' twice, in rows 0 and 149",
        ),
        (lambda h: changed(h, image_features=h["image_features"][0]), r"floats \(rows, values\)"),
        (lambda h: changed(h, words=h["words"].astype(object)), "holds Python objects; save names"),
        (lambda h: changed(h, word_features=h["word_features"][:, :-1]), "not of one encoder"),
        (lambda h: changed(h, word_features=h["word_features"].astype(int)), "floats"),
    ],
)
def test_what_is_no_table_of_features_is_refused(held, tmp_path, change, why):
    with pytest.raises(BadFile, match=why):
        load_encoder(write(tmp_path / "f.npz", change(held)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_finite_numbers_are_refused(held, tmp_path, value):
    broken = held["image_features"].copy()
    broken[9, 3] = value
    with pytest.raises(BadFile, match=f"of '{held['image_ids'][9]}' are not all finite"):
        load_encoder(write(tmp_path / "f.npz", changed(held, image_features=broken)))


def test_features_of_zeros_are_refused(held, tmp_path):
    broken = held["word_features"].copy()
    broken[2] = 0
    with pytest.raises(BadFile, match=f"of '{held['words'][2]}' are 0 throughout"):
        load_encoder(write(tmp_path / "f.npz", changed(held, word_features=broken)))


def test_features_of_other_photos_are_refused(tiny_run, held, tmp_path):
    other = changed(held, image_ids=np.array([f"photo-{k}" for k in range(150)]))
    encoder = load_encoder(write(tmp_path / "f.npz", other))
    with pytest.raises(BadFile, match=r"no features of any photo of this run \(\d+"):
        encoder.image_features(tiny_run, np.arange(3))
    few = {**held, **{k: held[k][:140] for k in ("image_ids", "image_features")}}
    encoder = load_encoder(write(tmp_path / "g.npz", few))
    with pytest.raises(BadFile, match="no features of 10 of 150 photos of this run"):
        encoder.image_features(tiny_run, np.arange(150))


def test_files_that_are_none_are_refused(held, tmp_path):
    with pytest.raises(UnitscopeError, match="no file or folder"):
        load_encoder(f"features:{tmp_path / 'nothing.npz'}")
    with pytest.raises(UnitscopeError, match="no file or folder ''"):
        load_encoder("features")
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(BadFile, match=r"is no \.npz"):
        load_encoder(f"features:{tmp_path / 'text.npz'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadFile, match=r"has no image_ids \(it has nothing\)"):
        load_encoder(f"features:{tmp_path / 'empty'}")
    spec = write(tmp_path / "cut.npz", held)
    whole = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFile):
        load_encoder(spec)
    spec = write_folder(tmp_path / "short", held)
    array = tmp_path / "short" / "image_features.npy"
    array.write_bytes(array.read_bytes()[:200])
    with pytest.raises(BadFile, match="cannot be read as features"):
        load_encoder(spec)


def test_an_archive_that_claims_too_much_is_not_unpacked(held, tmp_path, monkeypatch):
    monkeypatch.setattr(encoders, "MOST_BYTES", 1000)
    for spec in (write(tmp_path / "f.npz", held), write_folder(tmp_path / "folder", held)):
        with pytest.raises(BadFile, match="features of at most 1,000 are read"):
            load_encoder(spec)


def test_the_last_encoder_stays_open_until_its_file_changes(held, tmp_path):
    spec = write(tmp_path / "f.npz", held)
    first = load_encoder(spec)
    assert load_encoder(spec) is first
    write(tmp_path / "f.npz", changed(held, words=held["words"][::-1]))
    assert load_encoder(spec) is not first


def test_an_archive_of_something_else_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "f.npz", "w") as archive:
        archive.writestr("image_ids.npy", b"no array")
        for name in ("image_features", "words", "word_features"):
            archive.writestr(f"{name}.npy", b"")
    with pytest.raises(BadFile, match="are no array"):
        load_encoder(f"features:{tmp_path / 'f.npz'}")


# -- the table ------------------------------------------------------------------------------------


def test_an_unknown_encoder_is_told_the_nearest():
    with pytest.raises(UnitscopeError, match=r"unknown encoder 'feature:x'; nearest: features:"):
        load_encoder("feature:x")


def test_what_opens_no_encoder_is_refused():
    ENCODERS.register(Row("wrong", "wrong", "none", "core.labelling.label:concept"))
    try:
        with pytest.raises(UnitscopeError, match="opened a"):
            load_encoder("wrong")
    finally:
        ENCODERS.unregister("wrong")


def test_every_row_can_be_imported():
    assert [row.name for row in ENCODERS] == ["open_clip", "features", "conse"]
    for row in ENCODERS:
        assert callable(row.load())
    assert issubclass(NetworkEncoder, Encoder) and SIZE
