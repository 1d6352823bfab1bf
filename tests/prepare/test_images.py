"""Images: one by one without Spark, then a folder of good and bad files through the whole stage."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from pipeline import config
from pipeline.errors import DataError
from pipeline.prepare.augment import augment
from pipeline.prepare.augment.image import transform
from pipeline.prepare.kinds.base import Undecodable
from pipeline.prepare.kinds.decode_image import decode, encode
from pipeline.schema import SPLITS, prepared
from pipeline.sections.augment import AugmentOperation, Rotate, Translate
from pipeline.sections.media import ImageOptions
from tests.prepare.conftest import published, rows

IMAGES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3])))
OPERATIONS = (AugmentOperation(rotate=Rotate(degrees=12)), AugmentOperation(translate=Translate(pixels=1)))


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(file, kind, **options)
    return file.getvalue()


@given(IMAGES)
def test_decoding_a_lossless_image_of_the_right_size_changes_no_pixel(pixels):
    assert np.array_equal(decode(encoded(pixels), pixels.shape), pixels)


@given(IMAGES)
def test_a_transform_by_nothing_changes_no_pixel(pixels):
    assert np.array_equal(transform(pixels), pixels)


@given(IMAGES)
def test_a_half_turn_is_the_image_from_behind(pixels):
    assert np.array_equal(transform(pixels, degrees=180), pixels[::-1, ::-1])


def test_a_shift_moves_right_and_down():
    pixels = np.zeros((5, 5, 1), np.uint8)
    pixels[2, 2] = 200
    moved = transform(pixels, shift=(1, 2))
    assert moved[4, 3] == 200 and moved.sum() == 200


@given(IMAGES, st.text(max_size=8), st.integers(0, 5))
def test_a_copy_depends_on_its_seed_sample_and_number_alone(pixels, sample_id, copy):
    first = augment(pixels, "image", OPERATIONS, seed=3, sample_id=sample_id, copy=copy)
    assert first.shape == pixels.shape and first.dtype == np.uint8
    assert np.array_equal(first, augment(pixels, "image", OPERATIONS, seed=3, sample_id=sample_id, copy=copy))


def test_copies_differ():
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 1), np.uint8)
    copies = [augment(pixels, "image", OPERATIONS, seed=0, sample_id="a", copy=copy).tobytes() for copy in range(1, 5)]
    assert len({pixels.tobytes(), *copies}) == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "the file is empty"),
        (b"hello, this is text", "not a readable image"),
        (encoded(np.zeros((9, 9, 3), np.uint8))[:-30], "not a readable image"),
        (encoded(np.zeros((60, 60, 3), np.uint8), "JPEG")[:300], "not a readable image"),
    ],
    ids=["empty", "text", "truncated png", "truncated jpeg"],
)
def test_what_is_no_image_is_undecodable_with_the_reason(content, says):
    with pytest.raises(Undecodable, match=says):
        decode(content, (8, 8, 1))


def test_a_bomb_is_refused_from_its_header():
    file = io.BytesIO()
    Image.new("1", (20000, 20000)).save(file, "PNG")
    with pytest.raises(Undecodable, match="(20000x20000 pixels is more than|DecompressionBomb)"):
        decode(file.getvalue(), (8, 8, 1))


def test_sixteen_bits_keep_their_upper_eight_and_deeper_pixels_are_refused():
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    file = io.BytesIO()
    Image.fromarray(ramp).save(file, "PNG")
    assert np.array_equal(decode(file.getvalue(), (8, 8, 1))[:, :, 0], ramp >> 8)
    for deep in (ramp.astype(np.int32), ramp.astype(np.float32)):
        file = io.BytesIO()
        Image.fromarray(deep).save(file, "TIFF")
        with pytest.raises(Undecodable, match="pixel mode [IF] is not one of"):
            decode(file.getvalue(), (8, 8, 1))


def test_what_a_name_says_must_go_with_the_bytes_unless_the_recipe_takes_it():
    png = encoded(np.zeros((8, 8, 1), np.uint8))
    with pytest.raises(Undecodable, match=r"mislabelled: the name ends in \.jpg, the content is PNG"):
        decode(png, (8, 8, 1), name="a/photo.JPG")
    accepting = ImageOptions(mislabelled="accept")
    assert decode(png, (8, 8, 1), accepting, "photo.jpg").shape == (8, 8, 1)
    assert decode(png, (8, 8, 1), name="photo").shape == decode(png, (8, 8, 1), name="photo.2019").shape == (8, 8, 1)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_pixel_mode_becomes_the_channels_that_are_asked_for(mode):
    source = Image.fromarray(np.full((6, 6, 3), (200, 40, 90), np.uint8)).convert(mode)
    file = io.BytesIO()
    source.save(file, "TIFF")
    for channels, wanted in ((1, "L"), (3, "RGB")):
        expected = np.asarray(source.convert(wanted)).reshape(6, 6, channels)
        assert np.array_equal(decode(file.getvalue(), (6, 6, channels)), expected)


def test_each_resize_rule_keeps_what_it_says():
    wide = np.zeros((10, 20, 1), np.uint8)
    wide[:, :2], wide[:, -2:], wide[:, 2:-2] = 255, 255, 100
    stretched = decode(encoded(wide), (10, 10, 1), ImageOptions(resize="stretch"))
    assert stretched[:, 0].min() > 200 and stretched[:, -1].min() > 200
    fitted = decode(encoded(wide), (10, 10, 1), ImageOptions(resize="fit", fill=7))
    assert (fitted[0] == 7).all() and (fitted[-1] == 7).all() and (fitted[5] > 90).all()
    cropped = decode(encoded(wide), (10, 10, 1), ImageOptions(resize="crop"))
    assert (cropped == 100).all()  # both ends stood over


@given(IMAGES)
def test_a_stored_png_gives_every_pixel_back(pixels):
    assert np.array_equal(decode(encode(pixels, "png"), pixels.shape), pixels)


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes whose header says that it is large."""
    file = encoded(np.zeros((1, 1, 1), np.uint8))
    header = file[:16] + struct.pack(">II", width, height) + file[24:29]
    return header + struct.pack(">I", zlib.crc32(header[12:29])) + file[33:]


def animated(format: str) -> bytes:
    frames = [Image.new("L", (8, 8), grey) for grey in (0, 90, 200)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_an_image_of_several_frames_is_refused(format):
    with pytest.raises(Undecodable, match="the image has several frames"):
        decode(animated(format), (8, 8, 1))


@pytest.mark.parametrize("size", [(20000, 20000), (9000, 9000)])
def test_what_is_too_large_is_refused_by_its_header_alone(size):
    tracemalloc.start()
    with pytest.raises(Undecodable, match="pixels is more than|DecompressionBomb"):
        decode(bomb(*size), (8, 8, 1))
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_an_image_smaller_than_the_recipe_wants_is_refused():
    small = encoded(np.zeros((9, 20, 1), np.uint8))
    assert decode(small, (8, 8, 1), ImageOptions(min_side=9)).shape == (8, 8, 1)
    with pytest.raises(Undecodable, match="20x9 pixels: the shorter side is less than image.min_side: 10"):
        decode(small, (8, 8, 1), ImageOptions(min_side=10))


def test_an_image_is_turned_as_its_camera_says():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    assert decode(encoded(pixels, exif=exif), (6, 4, 3))[:3].min() == 255


def image_recipe(tmp_path: Path, folder: Path, **sections: object) -> config.Recipe:
    values = {
        "name": "images",
        "source": {"format": "images", "path": str(folder)},
        "columns": {"image": {"kind": "image", "shape": [8, 8, 1]}, "label": {"kind": "category", "role": "label"}},
        "model": {"name": "cnn"},
        "register": {"name": "images"},
    }
    path = tmp_path / "images.yaml"
    path.write_text(yaml.safe_dump({**values, **sections}, sort_keys=False))
    return config.load(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 different images of two classes; one file name has what URLs and globs take for something else."""
    random = np.random.default_rng(1)
    for number in range(60):
        path = tmp_path / "raw" / ("cat" if number % 2 else "dog") / (f"{number}.png" if number else "a b%20[0]*.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(random.integers(0, 255, (8, 8, 1), np.uint8)))
    return tmp_path / "raw"


@pytest.mark.spark
def test_an_image_reaches_its_prepared_file_pixel_for_pixel(prepare, tmp_path, folder):
    outcome = prepare(image_recipe(tmp_path, folder))
    facts = prepared(outcome.manifest)
    assert facts.accounting.rows_in == facts.accounting.rows_out == 60 and facts.classes == ("cat", "dog")
    seen = 0
    for split in SPLITS:
        table = rows(outcome, f"data/{split}")
        for name, packed, label in zip(*(table[column].to_pylist() for column in ("sample_id", "image", "label")), strict=True):
            assert np.array_equal(np.frombuffer(packed, np.uint8).reshape(8, 8), np.asarray(Image.open(folder / name)))
            assert facts.classes[label] == name.split("/")[0]
            seen += 1
    assert seen == 60


@pytest.mark.spark
def test_pixel_statistics_are_those_of_the_train_rows(prepare, tmp_path, folder):
    outcome = prepare(image_recipe(tmp_path, folder))
    pixels = np.stack([np.frombuffer(row, np.uint8) for row in rows(outcome, "data/train")["image"].to_pylist()]).astype(float)
    tensor = prepared(outcome.manifest).tensor
    assert tensor.mean == pytest.approx((pixels.mean(),)) and tensor.std == pytest.approx((pixels.std(),))


@pytest.mark.spark
def test_images_that_do_not_decode_are_quarantined_with_their_reason_and_the_run_goes_on(prepare, tmp_path, folder):
    (folder / "cat" / "text.jpg").write_text("no image")
    (folder / "dog" / "empty.png").touch()
    (folder / "dog" / "same.png").write_bytes((folder / "dog" / "2.png").read_bytes())
    (folder / "cat" / "cut.png").write_bytes((folder / "dog" / "2.png").read_bytes()[:-30])
    (folder / "cat" / "bomb.png").write_bytes(bomb(30_000, 30_000))
    (folder / "dog" / "moving.gif").write_bytes(animated("GIF"))
    (folder / "dog" / "named.jpg").write_bytes((folder / "dog" / "2.png").read_bytes())
    outcome = prepare(image_recipe(tmp_path, folder, clean={"max_dropped": 0.12, "rules": ["drop_duplicates"]}))
    assert prepared(outcome.manifest).accounting.dropped == {"unreadable": 6, "drop_duplicates": 1}
    reasons = dict(zip(*(rows(outcome, "quarantine")[column].to_pylist() for column in ("key", "reason")), strict=True))
    assert reasons["dog/empty.png"] == "the file is empty" and "not a readable image" in reasons["cat/text.jpg"]
    assert reasons["dog/same.png"] == "same content as dog/2.png"
    assert "not a readable image" in reasons["cat/cut.png"] and reasons["dog/moving.gif"] == "the image has several frames"
    assert "DecompressionBomb" in reasons["cat/bomb.png"] or "pixels is more than" in reasons["cat/bomb.png"]
    assert reasons["dog/named.jpg"] == "mislabelled: the name ends in .jpg, the content is PNG"


@pytest.mark.spark
def test_too_many_bad_images_fail_the_run_and_publish_nothing(prepare, tmp_path, folder):
    for number in range(5):
        (folder / "cat" / f"bad{number}.png").write_text("no image")
    with pytest.raises(DataError, match=r"5 of 65 rows \(7.69%\) would be dropped: unreadable 5. clean.max_dropped allows 1.00%"):
        prepare(image_recipe(tmp_path, folder))
    assert not published(tmp_path / "runs")


@pytest.mark.spark
def test_only_train_rows_have_augmented_copies_and_they_stay_with_their_source(prepare, tmp_path, folder):
    augmented = {"copies": 2, "operations": [{"rotate": {"degrees": 10}}, {"translate": {"pixels": 1}}]}
    outcome = prepare(image_recipe(tmp_path, folder, augment=augmented))
    facts = prepared(outcome.manifest)
    train = rows(outcome, "data/train")["sample_id"].to_pylist()
    assert facts.splits["train"].rows == 3 * facts.splits["train"].sources == len(train)
    assert sorted(train) == sorted(name + copy for name in train if "#" not in name for copy in ("", "#1", "#2"))
    for split in ("validation", "test"):
        assert facts.splits[split].rows == facts.splits[split].sources
        assert not any("#" in name for name in rows(outcome, f"data/{split}")["sample_id"].to_pylist())


@pytest.mark.spark
def test_a_folder_without_files_is_refused(prepare, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="No input rows"):
        prepare(image_recipe(tmp_path, tmp_path / "none"))
