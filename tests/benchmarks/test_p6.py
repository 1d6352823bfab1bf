"""P6, P6A, P6T: the same input each time, and a check that lets no other work pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bench import CheckFailed, Job, Side, load
from benchmarks.p6 import check, data, work
from pipeline.prepare import documents
from pipeline.prepare.kinds import KINDS
from pipeline.sections.data import Column
from pipeline.sections.media import AudioOptions
from pipeline.sections.text import Text

BARE = Side("bare", lambda job: [], "a peer")


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Ten images, and an empty folder for what a side writes."""
    folder = data.make("images", tmp_path, 10, lambda line: None)
    (tmp_path / "out").mkdir()
    return Job(10, folder, tmp_path / "out", 1)


def write(job: Job, change: dict[str, bytes | None] | None = None) -> None:
    """What an honest side writes, but for some keys."""
    found: dict[str, bytes] = {}
    for path in job.data.rglob("*.jpg"):
        tensor, key = work.decode(path.read_bytes(), "images"), path.relative_to(job.data).as_posix()
        found |= {key: tensor.tobytes(), f"{key}#1": work.augment(tensor, "images", np.random.default_rng(1)).tobytes()}
    kept = {key: value for key, value in {**found, **(change or {})}.items() if value is not None}
    work.write(list(kept), list(kept.values()), job.out / "part.parquet")


def test_an_honest_side_passes_and_says_what_it_made(job):
    write(job)
    assert check.check("images", BARE, job, "").checksum["rows"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class-3/000003.jpg": b"\0" * 12288}, "class-3/000003.jpg is .* steps off"),
        ({"class-3/000003.jpg": None}, "10 copies, expected 9"),
        ({"class-3/000003.jpg": None, "class-3/000003.jpg#1": None}, "9 samples of 10 are there"),
        ({"class-3/000003.jpg#1": None}, "9 copies, expected 10"),
    ],
    ids=["another image", "an image without its copy", "an image less", "a copy less"],
)
def test_a_side_that_does_other_work_is_refused(job, change, message):
    write(job, change)
    with pytest.raises(CheckFailed, match=message):
        check.check("images", BARE, job, "")


def test_a_copy_that_is_no_copy_is_refused(job):
    key = "class-3/000003.jpg"
    write(job, {f"{key}#1": work.decode((job.data / key).read_bytes(), "images").tobytes()})
    with pytest.raises(CheckFailed, match="1 copies are what they are copies of"):
        check.check("images", BARE, job, "")


def test_sides_that_disagree_are_refused():
    with pytest.raises(CheckFailed, match="longhaul has .*, bare has"):
        check.agree({"longhaul": {"rows": 1}, "bare": {"rows": 2}})


def test_we_decode_and_clean_what_the_peers_do():
    image, sound = data.image(4), data.sound(4)
    pixels = KINDS["image"].decode(image, Column(kind="image", shape=(64, 64, 3)), "a.jpg").value
    assert pixels == work.decode(image, "images").tobytes()
    heard = KINDS["audio"].decode(sound, Column(kind="audio", audio=AudioOptions(sample_rate=16000, seconds=1.0)), "a.wav").value
    assert np.abs(np.frombuffer(heard, np.int16).astype(int) - work.decode(sound, "audio").astype(int)).max() <= check.MAX_STEPS
    for number in range(40):
        assert documents.clean(data.line(number), Text(html="strip")) == work.clean(data.line(number))


def test_lines_are_the_same_each_time_and_hold_what_has_to_be_cleaned():
    lines = [data.line(number) for number in range(40)]
    assert lines == [data.line(number) for number in range(40)]
    assert len(set(lines)) == 40 and any("<br />" in line for line in lines) and any("\t" in line for line in lines)
    assert len({data.word(rank) for rank in range(data.WORDS)}) == data.WORDS


@pytest.mark.parametrize("name", ["P6", "P6A", "P6T"])
def test_a_target_is_one_of_the_values_and_a_side_is_there_once(name):
    found = load(name)
    assert set(found.targets) <= set(found.values)
    assert len({side.name for side in found.sides}) == len(found.sides) >= 4


def test_a_text_without_its_vocabulary_is_refused(tmp_path):
    folder, out = data.make("text", tmp_path, 20, lambda line: None), tmp_path / "out"
    out.mkdir()
    (out / "vocabulary.json").write_text(json.dumps({"[PAD]": 0, "[UNK]": 1}))
    rows = [(f"{number}{end}", bytes([number, len(end)])) for number in range(20) for end in ("", "#1")]
    work.write([key for key, _ in rows], [value for _, value in rows], out / "part.parquet")
    with pytest.raises(CheckFailed, match="a vocabulary of 2, expected nearly 8000"):
        check.check("text", BARE, Job(20, folder, out, 1), "")
