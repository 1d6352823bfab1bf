"""The exchange of gradients is timed, also where TensorFlow's operations must be deterministic."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.tf

TIMED = """
import time
import keras, tensorflow as tf
from pipeline.train.stopwatch import Stopwatch
keras.utils.set_random_seed(1)
tf.config.experimental.enable_op_determinism()
watch = Stopwatch()
seen, second = [], []
watch.when_second = lambda: second.append((watch.times, len(seen)))

def slow(value):
    seen.append(watch.is_running)
    time.sleep(0.05)
    return value

def once(index, value):
    (timed,) = watch.around(lambda tensors: [tf.ensure_shape(tf.numpy_function(slow, tensors, tf.float32), (2,))], [value * 2])
    return index + 1, timed

@tf.function(autograph=False)
def steps(value):
    return tf.while_loop(lambda index, _: index < 3, once, (0, value))[1]

print(steps(tf.ones(2)).numpy().tolist(), watch.times, watch.is_running, all(seen), 0.15 <= watch.seconds < 30, second)
"""


@pytest.mark.slow
def test_what_is_timed_is_the_operation_alone_every_time_it_runs_and_the_second_begin_is_told_once_when_the_first_is_over():
    done = subprocess.run([sys.executable, "-c", TIMED], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[8.0, 8.0] 3 False True True [(2, 1)]"
