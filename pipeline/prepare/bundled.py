"""Data sets that come with scikit-learn, written once as the raw files a user would have: a folder of images, a CSV."""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path


def materialize(name: str, root: Path) -> Path:
    """The folder with the raw files, made if it is not there.

    Args:
        name: `digits` (1,797 PNG files of 8x8 pixels, in a folder for each class), `iris` (one CSV of 150 rows) or `tumours` (one CSV
            of 569 rows: 30 measurements of cell nuclei, and whether the tumour was malignant).
        root: the runs' folder; the data lies in `<root>/_sources/<name>`.
    """
    folder = root / "_sources" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{name}-"))
    WRITERS[name](draft)
    for path in sorted(draft.rglob("*")):
        os.utime(path, (0, 0))  # the same listing, so the same key, on every machine
    try:
        draft.chmod(0o755)
        draft.rename(folder)
    except OSError:  # another process was first, with the same bytes
        shutil.rmtree(draft)
    return folder


def write_digits(folder: Path) -> None:
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / str(label) / f"{index:04d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((image * 15).astype("uint8")).save(path)  # 0..16 -> 0..240, nothing lost


def write_iris(folder: Path) -> None:
    from sklearn.datasets import load_iris

    iris = load_iris()
    with (folder / "iris.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sepal_length", "sepal_width", "petal_length", "petal_width", "species"])
        for row, target in zip(iris.data, iris.target, strict=True):
            writer.writerow([*row.tolist(), iris.target_names[target]])


def write_tumours(folder: Path) -> None:
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer()
    with (folder / "tumours.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(name.replace(" ", "_") for name in found.feature_names), "diagnosis"])
        for row, target in zip(found.data, found.target, strict=True):
            writer.writerow([*row.tolist(), found.target_names[target]])


WRITERS: dict[str, Callable[[Path], None]] = {"digits": write_digits, "iris": write_iris, "tumours": write_tumours}
