"""Images in tables, in Parquet, as IDX, kept encoded, balanced."""

from __future__ import annotations

import gzip
import struct
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import config
from pipeline.errors import ConfigError, DataError
from pipeline.prepare.kinds.decode_image import decode
from pipeline.schema import SPLITS, prepared
from tests.prepare.conftest import rows
from tests.prepare.test_images import encoded, image_recipe

pytestmark = pytest.mark.spark

COLUMNS = {
    "image": {"kind": "image", "shape": [8, 8, 1]},
    "id": {"kind": "category", "role": "key"},
    "label": {"kind": "category", "role": "label"},
}


def pictures(count: int = 60) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 255, (8, 8, 1), np.uint8) for _ in range(count)]


def samples(outcome) -> dict[str, tuple[bytes, str]]:
    classes = prepared(outcome.manifest).classes
    tables = [rows(outcome, f"data/{split}") for split in SPLITS]
    return {
        name: (packed, classes[label])
        for table in tables
        for name, packed, label in zip(*(table[column].to_pylist() for column in ("sample_id", "image", "label")), strict=True)
    }


def test_a_table_of_paths_is_followed_below_its_folder_and_nowhere_else(prepare, tmp_path):
    raw, wanted = tmp_path / "raw", pictures()
    (raw / "files").mkdir(parents=True)
    lines = ["image,id,label"]
    for number, pixels in enumerate(wanted):
        (raw / "files" / f"{number}.png").write_bytes(encoded(pixels))
        lines.append(f"files/{number}.png,r{number},{'ab'[number % 2]}")
    (tmp_path / "secret.png").write_bytes(encoded(wanted[0]))
    (raw / "link.png").symlink_to(tmp_path / "secret.png")
    bad = {"up": "../secret.png", "absolute": str(tmp_path / "secret.png"), "link": "link.png", "gone": "files/99.png", "none": ""}
    lines += [f"{path},{name},a" for name, path in bad.items()]
    (raw / "table.csv").write_text("\n".join(lines) + "\n")
    source = {"format": "csv", "path": str(raw / "table.csv")}
    outcome = prepare(image_recipe(tmp_path, raw, source=source, columns=COLUMNS, clean={"max_dropped": 0.2}))
    assert samples(outcome) == {f"r{number}": (pixels.tobytes(), "ab"[number % 2]) for number, pixels in enumerate(wanted)}
    reasons = dict(zip(*(rows(outcome, "quarantine")[column].to_pylist() for column in ("key", "reason")), strict=True))
    assert "is no path below the table's folder" in reasons["up"] and "is no path below" in reasons["absolute"]
    assert "leads out of the table's folder" in reasons["link"]
    assert "cannot be read: No such file" in reasons["gone"] and len(reasons) == 5


def test_bytes_in_parquet_are_decoded_and_damaged_ones_are_quarantined_without_their_bytes(prepare, tmp_path):
    wanted = pictures()
    contents = [encoded(pixels) for pixels in wanted] + [b"", None, encoded(wanted[0])[:40]]
    names = [f"r{number}" for number in range(60)] + ["empty", "null", "truncated"]
    table = pa.table({"image": pa.array(contents, pa.binary()), "id": names, "label": ["ab"[number % 2] for number in range(63)]})
    (tmp_path / "raw").mkdir()
    pq.write_table(table, tmp_path / "raw" / "images.parquet")
    source = {"format": "parquet", "path": str(tmp_path / "raw" / "images.parquet")}
    outcome = prepare(image_recipe(tmp_path, tmp_path / "raw", source=source, columns=COLUMNS, clean={"max_dropped": 0.1}))
    assert {name: packed for name, (packed, _) in samples(outcome).items()} == {
        f"r{number}": pixels.tobytes() for number, pixels in enumerate(wanted)
    }
    dropped = {row["key"]: row for row in rows(outcome, "quarantine").to_pylist()}
    assert dropped["empty"]["reason"] == "image: the file is empty" and dropped["null"]["reason"] == "image: it is missing"
    assert "not a readable image" in dropped["truncated"]["reason"]
    assert all(len(row["raw"]) < 200 and '"id"' in row["raw"] for row in dropped.values())


def idx_files(folder: Path, images: np.ndarray, labels: np.ndarray, *, packed: bool = False, missing: int = 0) -> Path:
    folder.mkdir()
    first = struct.pack(">4B", 0, 0, 8, images.ndim) + struct.pack(f">{images.ndim}I", *images.shape) + images.tobytes()
    second = struct.pack(">4B", 0, 0, 8, 1) + struct.pack(">I", len(labels)) + labels.astype(np.uint8).tobytes()
    first = first[: len(first) - missing]
    if packed:
        (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(first))
        (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(second))
    else:
        (folder / "train-images-idx3-ubyte").write_bytes(first)
        (folder / "train-labels-idx1-ubyte").write_bytes(second)
    return folder


def test_idx_files_give_every_image_with_its_label_and_what_is_cut_off_is_quarantined(prepare, tmp_path):
    images, labels = np.stack(pictures(100))[:, :, :, 0], np.arange(100) % 3
    folder = idx_files(tmp_path / "raw", images, labels, missing=100)  # the last image, and a part of the one before it
    source = {"format": "idx", "path": str(folder)}
    outcome = prepare(image_recipe(tmp_path, folder, source=source, clean={"max_dropped": 0.05}))
    found = samples(outcome)
    assert found == {f"train-images-idx3-ubyte/{number:03d}": (images[number].tobytes(), str(labels[number])) for number in range(98)}
    assert prepared(outcome.manifest).accounting.dropped == {"unreadable": 2}
    assert "truncated: the file ends before the pixels of image 98" in rows(outcome, "quarantine")["reason"].to_pylist()


def test_idx_files_that_do_not_go_together_are_refused(prepare, tmp_path):
    folder = idx_files(tmp_path / "raw", np.zeros((5, 8, 8), np.uint8), np.zeros(4), packed=True)
    recipe = image_recipe(tmp_path, folder, source={"format": "idx", "path": str(folder)})
    with pytest.raises(DataError, match=r"holds 5 images, .* dimensions \[4\] of labels"):
        prepare(recipe)
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="its labels are not there"):
        prepare(recipe)


def test_classes_are_balanced_by_copies_of_the_rarer_one_that_are_kept_as_png(prepare, tmp_path):
    raw = tmp_path / "raw"
    for number, pixels in enumerate(pictures(90)):
        path = raw / ("rare" if number % 9 == 0 else "common") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(pixels))
    columns = {"image": {"kind": "image", "shape": [8, 8, 1], "image": {"store": "png"}}, "label": {"kind": "category", "role": "label"}}
    augment = {"balance": {"max_copies": 20}, "operations": [{"flip_horizontal": {"share": 1.0}}]}
    outcome = prepare(image_recipe(tmp_path, raw, columns=columns, augment=augment, split={"by": "stratified"}))
    facts, table = prepared(outcome.manifest), rows(outcome, "data/train")
    counts = Counter(facts.classes[label] for label in table["label"].to_pylist())
    assert counts["common"] == facts.splits["train"].label_counts["common"] and 0.9 < counts["rare"] / counts["common"] < 1.1
    stored = dict(zip(table["sample_id"].to_pylist(), table["image"].to_pylist(), strict=True))
    copy = next(name for name in stored if name.endswith("#1"))
    before, after = (decode(stored[name], (8, 8, 1)) for name in (copy.removesuffix("#1"), copy))
    assert np.array_equal(after, before[:, ::-1]) and facts.tensor.encoding == "png"
    page = (outcome.found.files / facts.report).read_text()
    assert "mirrored left to right" in page and page.count("data:image/png;base64,") >= 8


def test_operations_of_another_kind_are_refused_with_their_line(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(ConfigError, match=r"gain is not for features of kind image; expected one of rotate"):
        image_recipe(tmp_path, raw, augment={"copies": 1, "operations": [{"gain": {"db": 3}}]})


def test_the_memory_of_a_folder_recipe_is_set_by_bytes_and_not_by_rows(tmp_path):
    from pipeline.prepare.job import BATCH_BYTES, rows_per_batch

    raw = tmp_path / "raw"
    raw.mkdir()
    for side in (8, 512):
        columns = {"image": {"kind": "image", "shape": [side, side, 3]}, "label": {"kind": "category", "role": "label"}}
        recipe: config.Recipe = image_recipe(tmp_path, raw, columns=columns)
        assert rows_per_batch(recipe) * side * side * 3 <= BATCH_BYTES
