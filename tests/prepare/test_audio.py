"""Sounds: one by one without Spark, then a folder of good and bad files through the whole stage."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.errors import ConfigError
from pipeline.prepare.kinds import KINDS, Undecodable
from pipeline.prepare.kinds.decode_audio import decode
from pipeline.schema import SPLITS, prepared
from pipeline.sections.data import Column
from pipeline.sections.media import AudioOptions
from tests.prepare.conftest import rows

RATE = 8000
WAV = {"sample_rate": RATE, "seconds": 0.1}


def options(**changes: object) -> AudioOptions:
    return AudioOptions.model_validate({**WAV, **changes})


def tone(hertz: float = 440.0, seconds: float = 0.1, rate: int = RATE, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * math.pi * hertz * np.arange(round(seconds * rate)) / rate)


def written(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=50).filter(any))
def test_sixteen_bits_come_back_to_the_bit(values):
    samples = np.array(values, np.int16)
    column = Column.model_validate({"kind": "audio", "audio": {"sample_rate": RATE, "seconds": len(values) / RATE, "silence": "keep"}})
    assert KINDS["audio"].decode(written(samples), column).value == samples.tobytes()


@pytest.mark.parametrize(
    ("format", "subtype", "step"),
    [
        ("WAV", "PCM_U8", 2**-7),
        ("WAV", "PCM_24", 2**-23),
        ("WAV", "PCM_32", 2**-23),
        ("WAV", "FLOAT", 2**-23),
        ("WAV", "DOUBLE", 2**-23),
        ("FLAC", "PCM_16", 2**-15),
        ("FLAC", "PCM_24", 2**-23),
    ],
)
def test_every_depth_comes_back_within_its_step(format, subtype, step):
    assert np.abs(decode(written(tone(), format=format, subtype=subtype), options()) - tone()).max() <= step


def test_several_channels_become_their_mean_or_the_first_or_are_refused():
    stereo = written(np.stack([tone(level=0.6), tone(level=0.2)], axis=1))
    assert np.abs(decode(stereo, options()) - tone(level=0.4)).max() < 2**-14
    assert np.abs(decode(stereo, options(channels="first")) - tone(level=0.6)).max() < 2**-14
    with pytest.raises(Undecodable, match="2 channels, expected 1"):
        decode(stereo, options(channels="quarantine"))


@pytest.mark.parametrize("rate", [16000, 44100, 11025])
def test_another_rate_is_resampled_to_the_same_tone_or_refused(rate):
    sound = written(tone(seconds=0.5, rate=rate), rate=rate)
    heard = decode(sound, options(seconds=0.5))
    assert len(heard) == RATE // 2
    assert np.abs(heard - tone(seconds=0.5))[200:-200].max() < 0.005  # but for the filter's ends
    with pytest.raises(Undecodable, match=f"rate {rate} Hz, expected 8000"):
        decode(sound, options(other_rates="quarantine"))


def test_what_the_lower_rate_cannot_hold_does_not_come_through_as_another_tone():
    heard = decode(written(tone(hertz=7000, seconds=0.5, rate=32000), rate=32000), options(seconds=0.5, silence="keep"))
    assert np.abs(heard)[200:-200].max() < 0.01


def test_sounds_are_cut_and_filled_up_where_the_recipe_says():
    short = written(np.full(400, 0.5))
    assert [tuple(np.flatnonzero(decode(short, options(align=align)))[[0, -1]]) for align in ("start", "middle")] == [(0, 399), (200, 599)]
    rising = written(np.arange(1, 1601) / 2000)
    first, middle = (decode(rising, options(align=align)) for align in ("start", "middle"))
    assert (first[0], middle[0]) == pytest.approx((1 / 2000, 401 / 2000), abs=2**-14)


def test_silent_ends_are_cut_if_asked_for():
    sound = np.concatenate([np.zeros(300), tone(seconds=0.05), np.zeros(300)])
    assert np.flatnonzero(decode(written(sound), options(silence="trim")))[0] < 2
    assert np.flatnonzero(decode(written(sound), options()))[0] >= 300


@pytest.mark.parametrize(
    ("content", "changes", "says"),
    [
        (b"", {}, "the file is empty"),
        (b"hello, this is text", {}, "not a readable sound: begins with 68 65 6c"),
        (written(tone())[:-200], {}, "truncated: its header says 1600 bytes of samples, the file holds 1400"),
        (written(tone())[:30], {}, "truncated: the file ends before its samples|not a readable sound"),
        (written(tone(seconds=1), format="FLAC")[:3000], {}, "not a readable sound|truncated"),
        (written(np.zeros(0)), {}, "no samples"),
        (written(np.zeros(800)), {}, "silent: no sample above -60 dB"),
        (written(np.where(np.arange(800) == 5, np.nan, tone()), subtype="FLOAT"), {}, "1 samples are NaN or infinite"),
        (written(np.where(np.arange(800) < 3, np.inf, tone()), subtype="DOUBLE"), {}, "3 samples are NaN or infinite"),
        (written(np.where(np.arange(800) < 80, 1.0, tone())), {"max_clipped": 0.05}, r"10.00% of the samples are clipped"),
        (written(tone(seconds=0.05)), {"min_seconds": 0.06}, "0.050 s is less than audio.min_seconds: 0.06"),
        (written(tone(seconds=2)), {"max_seconds": 1.0}, "2.000 s is more than audio.max_seconds: 1"),
        (written(tone(), subtype="ULAW"), {}, "ULAW is not read"),
    ],
    ids=[
        *("empty", "text", "truncated wav", "header alone", "truncated flac", "no samples", "silent", "NaN", "infinite"),
        *("clipped", "short", "long", "companded"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(content, changes, says):
    with pytest.raises(Undecodable, match=says):
        decode(content, options(**changes))


def test_a_name_that_says_another_format_is_refused():
    with pytest.raises(Undecodable, match=r"mislabelled: the name ends in \.flac, the content is WAV"):
        decode(written(tone()), options(), "a/b.flac")


def recipe_of(tmp_path: Path, folder: Path, **sections: object) -> config.Recipe:
    values = {
        "name": "sounds",
        "source": {"format": "audio", "path": str(folder), "pattern": r"(?P<tone>low|high)_(?P<speaker>\w+?)_\d+\."},
        "columns": {
            "sound": {"kind": "audio", "audio": {**WAV, "max_clipped": 0.2}},
            "tone": {"kind": "category", "role": "label"},
            "speaker": {"kind": "category", "role": "sensitive"},
        },
        "model": {"name": "crnn"},
        "register": {"name": "sounds"},
    }
    path = tmp_path / "sounds.yaml"
    path.write_text(yaml.safe_dump({**values, **sections}, sort_keys=False))
    return config.load(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(60):
        name, hertz = (("low", 200), ("high", 900))[number % 2]
        (raw / f"{name}_{'ab'[number % 3 == 0]}_{number}.wav").write_bytes(written(tone(hertz + number)))
    return raw


@pytest.mark.spark
def test_good_sounds_reach_their_files_and_bad_ones_go_to_quarantine_with_the_reason(prepare, tmp_path, folder):
    (folder / "low_a_60.flac").write_bytes(written(tone(150), format="FLAC"))
    (folder / "high_b_61.wav").write_bytes(written(np.stack([tone(950)] * 2, axis=1)))
    (folder / "high_b_62.wav").write_bytes(written(tone(960, rate=16000), rate=16000))
    (folder / "low_a_90.wav").touch()
    (folder / "low_a_91.wav").write_bytes(written(tone())[:-100])
    (folder / "low_a_92.wav").write_bytes(written(np.full(800, np.nan), subtype="FLOAT"))
    (folder / "low_a_93.flac").write_bytes(written(tone()))
    (folder / "humming.wav").write_bytes(written(tone(600)))
    outcome = prepare(recipe_of(tmp_path, folder, clean={"max_dropped": 0.1}))
    facts = prepared(outcome.manifest)
    assert (facts.accounting.rows_in, facts.accounting.rows_out, facts.accounting.dropped) == (68, 63, {"unreadable": 5})
    assert (facts.tensor.dtype, facts.tensor.shape, facts.tensor.sample_rate) == ("int16", (800,), RATE)
    reasons = dict(zip(*(rows(outcome, "quarantine")[column].to_pylist() for column in ("key", "reason")), strict=True))
    assert reasons == {
        "low_a_90.wav": "the file is empty",
        "low_a_91.wav": "truncated: its header says 1600 bytes of samples, the file holds 1500",
        "low_a_92.wav": "800 samples are NaN or infinite",
        "low_a_93.flac": "mislabelled: the name ends in .flac, the content is WAV",
        "humming.wav": 'source.pattern finds no tone, speaker in the path "humming.wav"',
    }
    train = []
    for split in SPLITS:
        table = rows(outcome, f"data/{split}")
        for name, packed, label, speaker in zip(*(table[c].to_pylist() for c in ("sample_id", "sound", "label", "speaker")), strict=True):
            heard, rate = soundfile.read(folder / name, dtype="int16")
            assert (facts.classes[label], speaker) == tuple(name.split("_")[:2])
            if rate == RATE and heard.ndim == 1:
                assert packed == heard.tobytes()
            train += [np.frombuffer(packed, np.int16)] if split == "train" else []
    values = np.concatenate(train).astype(float)
    assert facts.tensor.mean == pytest.approx((values.mean(),)) and facts.tensor.std == pytest.approx((values.std(),))


def test_a_column_that_no_path_gives_is_refused_with_what_there_is(tmp_path, folder):
    columns = {"sound": {"kind": "audio", "audio": WAV}, "pitch": {"kind": "category", "role": "label"}}
    with pytest.raises(ConfigError, match=r"column 'pitch' .* is not there; source.pattern names \['speaker', 'tone'\]"):
        recipe_of(tmp_path, folder, columns=columns)


def test_a_column_of_sounds_without_a_rate_is_refused(tmp_path, folder):
    columns = {"sound": {"kind": "audio"}, "tone": {"kind": "category", "role": "label"}}
    with pytest.raises(ConfigError, match="goes with kind: audio"):
        recipe_of(tmp_path, folder, columns=columns)
