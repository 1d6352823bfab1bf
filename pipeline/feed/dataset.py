"""Prepared rows as tf.data. Python runs once for each block of steps, never for a row or a batch; TensorFlow cuts, decodes and augments."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.attempt import Found
from pipeline.errors import LonghaulError
from pipeline.feed.augment import make as make_augment
from pipeline.feed.blocks import Block, epoch_blocks, epoch_reads
from pipeline.feed.budget import of_rank
from pipeline.feed.buffers import Buffers
from pipeline.feed.cache import FileCache
from pipeline.feed.columns import Rows
from pipeline.feed.plan import EvaluationPlan, Plan, Position, evaluation_share
from pipeline.feed.reader import SplitReader
from pipeline.feed.schedule import Read
from pipeline.feed.stall_clock import StallClock
from pipeline.feed.stream import Stream, in_turn
from pipeline.schema import SplitName
from pipeline.sections.feed import Feed

ID_LOG = "LONGHAUL_FEED_LOG"  # a folder: every rank writes there which rows each of its steps holds, for tests and audits


def training_dataset(
    reader: SplitReader, plan: Plan, *, rank: int = 0, size: int = 1, start: Position | None = None, settings: Feed | None = None
) -> tf.data.Dataset:
    """A rank's share of every global batch, from a position to the end of its epoch; see `TrainingFeed`. May be iterated again."""
    start = start or Position()
    feed = TrainingFeed(reader, plan, settings or Feed(), rank=rank, size=size, start=start, epochs=start.epoch + 1)
    return feed.epoch(start.epoch)


@dataclass
class TrainingFeed:
    """A rank's share of every global batch, epoch after epoch. One thread reads ahead, into the next epoch too.

    Args:
        reader: the train split.
        plan: made from `reader.rows_per_file`; the same on every rank.
        settings: the recipe's feed section.
        rank, size: this rank of how many.
        start: the first step to give.
        epochs: where to end: the number of the last epoch + 1.
        gives_back: the label's place has the rows themselves, as they were before augmentation.

    Raises:
        ConfigError: feed.memory_mb is too little, or feed.augment does not go with the rows.
        ValueError: more ranks than lanes.
    """

    reader: SplitReader
    plan: Plan
    settings: Feed = field(default_factory=Feed)
    rank: int = 0
    size: int = 1
    start: Position = field(default_factory=Position)
    epochs: int = 1
    gives_back: bool = False
    error: LonghaulError | None = None  # what ended the feed; TensorFlow passes on only its text

    def __post_init__(self) -> None:
        self.lanes = self.plan.lanes_of(self.rank, self.size)
        self.batch = self.plan.rows_per_lane_batch * len(self.lanes)
        is_cached = self.settings.cache == "memory"
        share, limit = self.plan.rows_per_lane_batch, self.settings.memory_mb
        reader = self.reader
        self.budget = of_rank(
            reader.files, reader.tensor, share, len(self.lanes), limit, is_cached=is_cached, label_shape=reader.label_shape
        )
        self.augment = make_augment(self.settings.augment, self.reader.tensor, self.plan.rows_per_lane_batch)
        self._log = os.environ.get(ID_LOG)
        self._has_ids = self.augment is not None or self._log is not None  # whether anybody asks which rows a batch holds
        self.clock = StallClock()
        self.cache = FileCache(self.settings, self.reader)
        self._stream: Stream[Block] | None = None
        self._at = self.start
        self._asked = self.start
        self._made: dict[int, tf.data.Dataset] = {}  # first step -> the pipeline that epochs share

    def epoch(self, epoch: int) -> tf.data.Dataset:
        """The steps of one epoch, those of the first from `start` on; ask for epochs in order, for the next one when this one is over.

        Epochs share a pipeline: making its graph takes as long as some hundred batches, and TensorFlow never forgets all of one.

        Returns:
            (tensor (B, *shape), label (B,) int64 or float32 or (B, K) float32, weight (B,) float32).
            B = rows_per_lane_batch * lanes of this rank. Or (tensor, tensor unchanged, weight), see `gives_back`.
        """
        position = Position(epoch, self.start.step if epoch == self.start.epoch else 0)
        if self._stream is None:  # it opens files while TensorFlow and Keras make ready
            self._begin(position)
        self._asked = position
        if position.step not in self._made:
            self._made[position.step] = self._pipeline(position.step)
        return self._made[position.step]

    def _pipeline(self, first_step: int) -> tf.data.Dataset:
        """The steps of the epoch that was last asked for, from a step of it on."""
        dataset = decoded(self._batches(), self.reader)
        if self._log is not None:
            dataset = dataset.map(id_log(Path(self._log), self.rank))
        if self._has_ids:
            calls = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True} if self.augment else {}
            dataset = dataset.map(self._augmented, **calls)
        elif self.gives_back:
            dataset = dataset.map(lambda tensor, label, weight: (tensor, tensor, weight))
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(self.plan.num_steps - first_step))
        if self._has_ids or self.reader.tensor.encoding:  # batches are made, which a thread can do ahead; else they are only pointed at
            return self.clock.around(dataset.prefetch(self.budget.prefetched_steps))
        return self.clock.around(dataset.with_options(nothing_to_tune()))

    def _batches(self) -> tf.data.Dataset:
        """(tensor, label, weight) and, where they are asked for, (B,) ids and (epoch, step) of a batch: slices of blocks, not copied."""
        leading = (None, self.batch)
        signature: tuple[tf.TensorSpec, ...] = signatures(self.reader, leading)
        if self._has_ids:
            signature += (tf.TensorSpec(leading, tf.int64), tf.TensorSpec((None, 2), tf.int64))
        blocks = tf.data.Dataset.from_generator(lambda: self._blocks(self._asked), output_signature=signature)
        return blocks.flat_map(lambda *block: tf.data.Dataset.from_tensor_slices(block))

    def _augmented(
        self, tensor: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, ids: tf.Tensor, place: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """A batch without its ids and place, changed if the recipe asks for it."""
        changed = self.augment(tensor, label, weight, ids, place[0]) if self.augment else (tensor, label, weight)
        return (changed[0], tensor, weight) if self.gives_back else changed

    def close(self) -> None:
        """End the reading thread; what it has read ahead is let go."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _blocks(self, position: Position) -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        """The blocks of one epoch for tf.data; the thread goes on where it was, or begins anew where it cannot."""
        stream = self._begin(position) if self._stream is None or self._at != position else self._stream
        step = position.step
        self._at = Position(-1, -1)  # until this epoch is given whole
        while step < self.plan.num_steps:
            try:
                block = next(stream)
            except LonghaulError as error:
                self.error = error
                raise
            first, step = step, step + len(block.label)
            if step == self.plan.num_steps:  # said before the last block is given: whoever has it may not ask again
                self._at = Position(position.epoch + 1, 0)
            arrays = (block.tensor, block.label, block.weight)
            yield arrays if block.ids is None else (*arrays, block.ids, places(position.epoch, first, step))

    def _begin(self, position: Position) -> Stream[Block]:
        """The thread, reading from there on."""
        self.close()
        self._stream = Stream(partial(self._produce, position), f"The feed of rank {self.rank}", self.settings.timeout_s)
        self._at = position
        return self._stream

    def _produce(self, position: Position) -> Iterator[Block]:
        """All blocks from a position to the end of the training. Runs in the stream's thread."""
        starts = [position, *(Position(epoch) for epoch in range(position.epoch + 1, self.epochs))]
        files = in_turn(self._files(start) for start in starts)
        steps = self.budget.block_steps
        form = partial(epoch_blocks, block_steps=steps, buffers=Buffers(steps), has_ids=self._has_ids)
        for start in starts:
            yield from form(self.plan, self.lanes, start.epoch, start.step, files=files)

    def _files(self, start: Position) -> tuple[int, Iterator[tuple[Rows, Read]]]:
        """The files of the rest of an epoch, each with what is taken from it, and how many there are."""
        reads = epoch_reads(self.plan, self.lanes, start.epoch, start.step, self.budget.keep_rows)
        rows = self.cache.read([read.file for read in reads], queued=self.budget.queued_files)
        return len(reads), with_reads(rows, reads)


def places(epoch: int, begin: int, end: int) -> np.ndarray[Any, Any]:
    """(end - begin, 2) int64: (epoch, step) of each step of a range."""
    return np.stack([np.full(end - begin, epoch), np.arange(begin, end)], axis=1)


def with_reads(rows: Iterator[Rows], reads: Sequence[Read]) -> Iterator[tuple[Rows, Read]]:
    """As `zip`, which would hold on to the last pair, and with it a file."""
    for read in reads:
        yield next(rows), read
    next(rows, None)  # it sees to it that there is no more


def evaluation_dataset(
    prepared: Found, split: SplitName, batch: int, *, rank: int = 0, size: int = 1, settings: Feed | None = None, is_padded: bool = False
) -> tf.data.Dataset:
    """A rank's share of a split: every row once, in the files' order.

    Args:
        prepared: a verified prepare result.
        split: which split.
        batch: rows at a time.
        rank, size: this rank of how many.
        settings: the recipe's feed section.
        is_padded: every rank takes equal steps of exactly `batch` rows, the last filled up with rows of weight 0. Keras' loss metric
            counts such rows, so validation is not padded: its last batch is smaller, and ranks may differ in steps, as evaluating
            takes no collective.
    """
    reader = SplitReader.open(prepared, split, settings)
    return split_dataset(reader, batch, rank=rank, size=size, settings=settings, is_padded=is_padded)


def split_dataset(
    reader: SplitReader, batch: int, *, rank: int = 0, size: int = 1, settings: Feed | None = None, is_padded: bool = False
) -> tf.data.Dataset:
    """As `evaluation_dataset`, from an open split."""
    share = evaluation_share(reader.rows_per_file, rank, size)
    plan = EvaluationPlan(reader.rows_per_file, batch, size)
    timeout_s = (settings or Feed()).timeout_s

    def produce() -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        for segment, rows in zip(share, reader.read([segment.file for segment in share], queued=1), strict=True):
            part = rows.take(slice(segment.begin, segment.end))
            yield part.tensor, part.label, part.weight

    def parts() -> Iterator[tuple[np.ndarray[Any, Any], ...]]:
        stream = Stream(produce, f"Evaluation's feed of rank {rank}", timeout_s)
        try:
            yield from stream
        finally:
            stream.close()

    dataset = decoded(tf.data.Dataset.from_generator(parts, output_signature=signatures(reader, leading=(None,))), reader, is_ragged=True)
    num_batches = -(-sum(segment.end - segment.begin for segment in share) // batch)
    if is_padded:
        num_batches = plan.num_steps
        dataset = dataset.concatenate(padding(dataset.element_spec, plan.num_padded(rank)))
    return dataset.rebatch(batch).apply(tf.data.experimental.assert_cardinality(num_batches)).prefetch(2)


def padding(specs: tuple[tf.TensorSpec, ...], count: int) -> tf.data.Dataset:
    """So many rows of zeros, weight 0."""
    rows = tuple(tf.zeros((count, *spec.shape[1:]), spec.dtype) for spec in specs)
    return tf.data.Dataset.from_tensors(rows).take(1 if count else 0)


def decoded(dataset: tf.data.Dataset, reader: SplitReader, *, is_ragged: bool = False) -> tf.data.Dataset:
    """Batches whose encoded images are pixels; others pass as they are."""
    if reader.tensor.encoding in (None, "utf8"):
        return dataset
    shape, dtype = reader.tensor.shape, tf.as_dtype(reader.tensor.dtype)

    def decode(file: tf.Tensor) -> tf.Tensor:
        # TensorFlow's own choice for JPEG is up to 6 of 255 off; this one gives Pillow's pixels, in the same time.
        is_jpeg = reader.tensor.encoding == "jpeg"
        image = tf.io.decode_jpeg(file, shape[-1], dct_method="INTEGER_ACCURATE") if is_jpeg else tf.io.decode_png(file, shape[-1], dtype)
        return tf.ensure_shape(image, shape)

    def pixels(files: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(decode, files, fn_output_signature=tf.TensorSpec(shape, dtype))

    return dataset.map(
        lambda files, *rest: (pixels(files), *rest), num_parallel_calls=1 if is_ragged else tf.data.AUTOTUNE, deterministic=True
    )


def signatures(reader: SplitReader, leading: tuple[int | None, ...]) -> tuple[tf.TensorSpec, tf.TensorSpec, tf.TensorSpec]:
    shape, dtype = ((), tf.string) if reader.tensor.encoding else (reader.tensor.shape, reader.tensor.dtype)
    label = (math.prod(reader.label_shape),) if reader.label_shape else ()
    return (
        tf.TensorSpec((*leading, *shape), dtype),
        tf.TensorSpec((*leading, *label), reader.label_dtype),
        tf.TensorSpec(leading, tf.float32),
    )


def nothing_to_tune() -> tf.data.Options:
    """Of a pipeline without choices, whose tuner would only take time at every batch."""
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    return options


def id_log(folder: Path, rank: int) -> Callable[..., tuple[tf.Tensor, ...]]:
    """A map that writes a line for each step: which rows it holds, as numbers over the split's files in the manifest's order."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"rank-{rank}-{os.getpid()}.jsonl"

    def write(ids: Any, place: Any) -> Any:
        epoch, step = place.tolist()
        with path.open("a") as file:
            file.write(json.dumps({"epoch": epoch, "step": step, "rank": rank, "ids": ids.tolist()}) + "\n")
        return ids

    def logged(tensor: tf.Tensor, label: tf.Tensor, weight: tf.Tensor, ids: tf.Tensor, place: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tensor, label, weight, tf.ensure_shape(tf.numpy_function(write, [ids, place], tf.int64, stateful=True), ids.shape), place

    return logged
