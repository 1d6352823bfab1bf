"""Memory of blocks is used again when nobody looks at it, and never before."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from pipeline.feed.blocks import gather
from pipeline.feed.buffers import Buffers

FLOATS = np.dtype(np.float32)


def address(array):
    return array.__array_interface__["data"][0]


def test_memory_comes_back_when_the_array_and_all_its_views_are_gone():
    buffers = Buffers(4)
    first = buffers.empty((4, 1000), FLOATS)
    view, place = first[2:3].reshape(-1), address(first)
    del first
    gc.collect()
    other = buffers.empty((4, 1000), FLOATS)
    assert address(other) != place  # a view still looks at it
    del view
    gc.collect()
    assert address(buffers.empty((2, 1000), FLOATS)) == place  # smaller arrays of a kind share its memory


def test_arrays_lie_at_addresses_that_tensorflow_takes_without_a_copy():
    assert address(Buffers(3).empty((2, 5, 7), FLOATS)) % 64 == 0


@pytest.mark.tf
def test_tensorflow_holds_the_memory_of_a_slice_for_as_long_as_the_slice_lives():
    import tensorflow as tf

    buffers = Buffers(2)

    def blocks():
        for number in range(20):
            block = buffers.empty((2, 64, 16), FLOATS)
            block[...] = number
            yield block

    dataset = tf.data.Dataset.from_generator(blocks, output_signature=tf.TensorSpec((None, 64, 16), tf.float32))
    batches = list(dataset.flat_map(tf.data.Dataset.from_tensor_slices))  # all of them at once
    assert [float(batch[3, 5]) for batch in batches] == [number // 2 for number in range(40)]
    assert all(bool(tf.reduce_all(batch == batch[0, 0])) for batch in batches)


@pytest.mark.tf
def test_a_feed_has_no_more_blocks_in_memory_than_its_budget_counts(write_split, monkeypatch):
    from pipeline.feed import budget, dataset
    from pipeline.feed.plan import Plan

    class Counted(Buffers):
        tensors = set()

        def empty(self, shape, dtype):
            array = super().empty(shape, dtype)
            if len(shape) == 3:
                self.tensors.add(address(array))
            return array

    monkeypatch.setattr(budget, "BLOCK_BYTES", 1 << 14)
    monkeypatch.setattr(dataset, "Buffers", Counted)
    reader = write_split([500] * 8)
    feed = dataset.TrainingFeed(reader, Plan(reader.rows_per_file, 32, 8, 17), epochs=3)
    assert feed.budget.block_steps < 20
    for epoch in range(3):
        assert sum(len(label) for _, label, _ in feed.epoch(epoch)) == 4000
    feed.close()
    assert len(Counted.tensors) <= budget.BLOCKS


@pytest.mark.parametrize("width", [2, 5000], ids=["together", "each to its place"])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_rows_are_gathered_to_their_places_whatever_their_size(width, is_ordered):
    values = np.arange(40 * width, dtype=np.float32).reshape(40, width)
    order = None if is_ordered else np.random.default_rng(1).permutation(40)
    wide = np.zeros((6, 10, width), np.float32)
    target = wide[:, 3:8]  # five rows of each step
    gather(target, 2, values, order, 4, 30)
    chosen = values[4:30] if order is None else values[order[4:30]]
    assert np.array_equal(target.reshape(30, width)[2:28], chosen)
    assert not target.reshape(30, width)[[0, 1, 28, 29]].any() and not wide[:, :3].any() and not wide[:, 8:].any()
