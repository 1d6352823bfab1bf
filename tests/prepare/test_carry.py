"""Prepared data for a training that starts from another one: what was fitted there counts here, or the difference is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline import config, stage
from pipeline.attempt import Attempt
from pipeline.console import Console
from pipeline.errors import ConfigError, DataError
from pipeline.paths import Run
from pipeline.prepare import job
from pipeline.schema import Trained, prepared
from pipeline.stage import Outcome, Request, Work
from tests.conftest import TABLE
from tests.prepare.conftest import features, rows, write_csv

pytestmark = pytest.mark.spark

COLUMNS = {"x": {"kind": "number"}, "town": {"kind": "category"}, "label": {"kind": "category", "role": "label"}}
TOKENS = {"method": "words", "max_tokens": 4, "min_count": 1}
TEXTS = {"columns": {"words": {"kind": "text", "text": {"tokens": TOKENS}}, "label": COLUMNS["label"]}, "model": {"name": "rnn"}}


class Place:
    """A root with recipes over tables of this test's own."""

    def __init__(self, root: Path, spark: Any) -> None:
        self.root, self.spark = root, spark

    def request(self, name: str, lines: list[str], header: str, force: bool = False, **sections: Any) -> Request:
        source = self.root / f"{name}.csv"
        if not source.exists():  # its time of change is part of what is asked for
            write_csv(source, lines, header)
        recipe = {**TABLE, "name": name, "columns": COLUMNS, **sections, "source": {"format": "csv", "path": str(source)}}
        (self.root / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
        return Request(config.load(self.root / f"{name}.yaml"), Run(self.root, name, "manual-0"), Console(None), force)

    def prepare(self, name: str, lines: list[str], header: str = "x,town,label", **sections: Any) -> Outcome:
        return job.run(self.request(name, lines, header, **sections), self.spark)

    def train(self, name: str) -> Path:
        """A published train stage for prepared data; nothing here opens the model."""
        run = Run(self.root, name, "manual-0")
        recipe = config.load(self.root / f"{name}.yaml")
        request = Request(recipe, run, Console(None))

        def work(attempt: Attempt) -> Work:
            (attempt.files / "model.keras").write_bytes(b"weights")
            facts = {"num_parameters": 1, "ranks": 1, "global_batch": 1, "steps_per_epoch": 1, "best_epoch": 1, "stopped_early": False}
            return Work(Trained(**facts, resumed_from=None, weight_digest="0", history=()).model_dump(mode="json"))

        stage.run_stage(request, "train", {}, {"prepare": stage.upstream(request, "prepare")}, work)
        return run.folder


@pytest.fixture
def place(tmp_path: Path, spark: Any) -> Place:
    return Place(tmp_path, spark)


def towns(count: int, scale: float, names: str) -> list[str]:
    generator = np.random.default_rng(count)
    return [f"{scale * generator.normal() + scale:.6f},{names[i % len(names)]},{'ab'[i % 2]}" for i in range(count)]


def test_numbers_and_categories_mean_what_they_meant_to_the_origin(place):
    origin = prepared(place.prepare("origin", towns(120, 1.0, "xyz")).manifest)
    alone = prepared(place.prepare("alone", towns(80, 50.0, "yw")).manifest)
    outcome = place.prepare("later", towns(80, 50.0, "yw"), transfer={"source": str(place.train("origin"))})
    later = prepared(outcome.manifest)
    assert (later.scalers, later.encoders, later.features) == (origin.scalers, origin.encoders, origin.features)
    assert (alone.scalers, alone.encoders) != (origin.scalers, origin.encoders)
    packed = features(rows(outcome, "data/train"))
    raw = (packed[:, 0] * origin.scalers[0].scale) + origin.scalers[0].offset
    assert 20 < raw.mean() < 80  # the numbers of this table, in the origin's unit
    unknown = packed[:, later.features.index("town=(other)")]
    assert 0 < unknown.mean() < 1  # w is a town that the origin has never seen
    assert later.origin is not None and (later.origin.folder, later.origin.run_id) == ("origin/manual-0/train", "manual-0")


def test_another_method_or_column_is_refused_with_every_difference_and_nothing_is_published(place):
    place.prepare("origin", towns(120, 1.0, "xyz"))
    source = str(place.train("origin"))
    with pytest.raises(DataError) as caught:
        place.prepare("later", towns(80, 50.0, "yw"), normalize={"x": "robust"}, encode={"town": "hash"}, transfer={"source": source})
    told = str(caught.value)
    assert "scaler x method: the origin has standard, here it is robust" in told
    assert "encoder town method: the origin has one_hot, here it is hash" in told
    assert not (place.root / "later" / "manual-0" / "prepare" / "manifest.json").exists()


def test_texts_become_the_origins_tokens(place):
    place.prepare("origin", [f"{'good bad odd'.split()[i % 3]} film {i},{'ab'[i % 2]}" for i in range(90)], "words,label", **TEXTS)
    theirs = prepared(stage.upstream(place.request("origin", [], "words,label", **TEXTS), "prepare").manifest)
    lines = [f"{'bad new'.split()[i % 2]} play {i},{'ab'[i % 2]}" for i in range(90)]
    outcome = place.prepare("later", lines, "words,label", **TEXTS, transfer={"source": str(place.train("origin"))})
    ours = prepared(outcome.manifest).vocabulary
    assert ours is not None and theirs.vocabulary is not None
    assert (ours.sha256, ours.size) == (theirs.vocabulary.sha256, theirs.vocabulary.size)
    assert ours.unknown_share > theirs.vocabulary.unknown_share  # counted on these texts: `play` and `new` are no words of the origin's
    tokens = json.loads((outcome.found.files / ours.file).read_text())["model"]["vocab"]
    first = np.frombuffer(rows(outcome, "data/train")["words"][0].as_py(), np.int32)
    assert first[0] in (tokens["bad"], tokens["[UNK]"])


def test_a_run_stays_with_the_origin_that_it_took_first_until_it_is_forced(place):
    for name, count in (("first", 120), ("second", 90)):
        place.prepare(name, towns(count, 1.0, "xyz"))
        place.train(name)
    asked = []

    def registered(run: Run, source: str) -> Path:
        asked.append(source)
        return place.root / ("first" if len(asked) == 1 else "second") / "manual-0" / "train"

    def prepare(force: bool) -> Outcome:
        request = place.request("later", towns(80, 5.0, "xy"), "x,town,label", force=force, transfer={"source": "towns@champion"})
        return job.run(Request(request.recipe, request.run, request.console, force, registered=registered), place.spark)

    first, again, forced = prepare(False), prepare(False), prepare(True)
    assert again.reused_from == "manual-0" and asked == ["towns@champion"] * 2
    origins = [prepared(outcome.manifest).origin.recipe for outcome in (first, again, forced)]
    assert origins == ["first", "first", "second"]


def test_what_is_no_finished_training_is_refused(place):
    place.prepare("origin", towns(120, 1.0, "xyz"))
    folder = place.train("origin")
    stray = place.root / "stray.keras"
    stray.write_bytes(b"weights")
    model = next(folder.glob("train/attempt-*/files/model.keras"))
    for source in (str(stray), str(place.root / "nothing"), str(folder / "prepare")):
        with pytest.raises(ConfigError, match="is no training of this pipeline"):
            place.prepare("later", towns(80, 5.0, "xy"), transfer={"source": source})
    with pytest.raises(ConfigError, match="may run code when it is loaded"):
        place.prepare("later", towns(80, 5.0, "xy"), transfer={"source": "old.h5"})
    assert prepared(place.prepare("later", towns(80, 5.0, "xy"), transfer={"source": str(model)}).manifest).origin is not None
    model.write_bytes(b"changed")
    with pytest.raises(DataError, match="its manifest says"):
        place.prepare("other", towns(80, 5.0, "xy"), transfer={"source": str(folder)})
