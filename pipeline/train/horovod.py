"""All that knows Horovod: plain collectives, and the Keras 3 optimizer that uses them. A one-process twin needs no Horovod.

Horovod's own Keras layer speaks Keras 2 and is not used (horovod#4290). How ranks find each other is in rendezvous.py.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.train.ranks_here import PIN
from pipeline.train.stopwatch import Stopwatch
from pipeline.train.vote import Vote

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class World:
    """Which rank of how many, and what ranks can do together. This one is alone: every sum is its own value.

    Every method is collective: all ranks must call it, in the same order.
    """

    rank: int = 0
    size: int = 1
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False)  # of the sums of gradients
    vote: Vote = field(default_factory=Vote, compare=False)  # to stop together

    def sum(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Sums over ranks, the same bits on every rank."""
        return list(arrays)

    def sum_in_graph(self, gradients: Sequence[Any]) -> list[Any]:
        """Sums over ranks of tensors, as one fused operation of a TensorFlow graph."""
        return list(gradients)

    def from_rank_0(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def share_variables(self, variables: Sequence[Any]) -> None:
        """Give every rank rank 0's values of Keras variables."""


class HorovodWorld(World):
    """Ranks that Horovod's environment variables describe. Initialises Horovod on creation."""

    def __init__(self) -> None:
        import horovod.tensorflow as hvd

        before = set(os.listdir("/proc/self/task"))
        hvd.init()
        if PIN in os.environ:
            yield_to_computing(int(thread) for thread in set(os.listdir("/proc/self/task")) - before)
        super().__init__(hvd.rank(), hvd.size())

    def sum(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        import horovod.tensorflow as hvd

        return [np.asarray(hvd.allreduce(array, op=hvd.Sum, name=f"sum_{index}")) for index, array in enumerate(arrays)]

    def sum_in_graph(self, gradients: Sequence[Any]) -> list[Any]:
        import horovod.tensorflow as hvd

        return list(hvd.grouped_allreduce(list(gradients), op=hvd.Sum))

    def from_rank_0(self, array: NDArray[Any]) -> NDArray[Any]:
        import horovod.tensorflow as hvd

        return np.asarray(hvd.broadcast(array, root_rank=0, name="from_rank_0"))

    def share_variables(self, variables: Sequence[Any]) -> None:
        from horovod.tensorflow.mpi_ops import broadcast_  # in place: what Horovod does otherwise is a graph, traced for each model

        groups: dict[tuple[str, int], list[Any]] = {}  # Horovod knows variables by their names, which two optimizers of a model share
        seen: Counter[str] = Counter()
        for value in (variable.value for variable in variables):
            groups.setdefault((value.device, seen[value.name]), []).append(value)
            seen[value.name] += 1
        for index, group in enumerate(groups.values()):
            broadcast_(group, root_rank=0, name=f"share_{index}")


def yield_to_computing(threads: Iterable[int]) -> None:
    """Threads of this process run when nothing else of it wants its core.

    Horovod's thread asks the other ranks every HOROVOD_CYCLE_TIME whether there is something to sum, also while nobody has anything. On
    a rank's only core that takes turns with the computing, and Gloo's thread, woken while Horovod's holds the lock that it needs, asks
    for it again and again until its turn is over. Gradients are summed when the backward pass is done, so nothing is lost by waiting.
    """
    for thread in threads:
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))


def detect_world() -> World:
    """The world that the launcher set up for this process; alone if it set up none."""
    return HorovodWorld() if int(os.environ.get("HOROVOD_SIZE", "1")) > 1 else World()


def all_reduce_gradients(optimizer: keras.Optimizer, world: World, share: float, *, compress: bool = False) -> keras.Optimizer:
    """The same optimizer, summing gradients over ranks before each update.

    Collective: every rank must take the same number of steps, or the ones ahead wait for ever. What the optimizer itself does with
    gradients comes after the sum: clipping by the global norm, accumulation, and loss scaling, whose verdict on overflow is the same
    on all ranks, because a number that is not finite on one rank makes the sum not finite on all.

    Args:
        optimizer: unbuilt.
        world: this rank's.
        share: rows of this rank's batch / rows of the global batch. Each rank's gradient is a mean over its own rows, so weighing
            it by its share makes the sum the mean over the global batch, also where ranks have unequal rows.
        compress: send gradients as float16: half the bytes, three digits.
    """
    base: type = type(optimizer)

    class Distributed(base):  # type: ignore[misc]  # the base is known at run time only
        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            # Alone too, rows of an embedding's gradient are added up first: the norm of the parts is not that of their sum.
            summed = sum_gradients(grads, world, share, compress=compress) if world.size > 1 else make_dense(grads)
            return super().apply(summed, trainable_variables)

    return Distributed.from_config(optimizer.get_config())


def sum_gradients(gradients: Sequence[Any], world: World, share: float, *, compress: bool = False) -> list[Any]:
    """Each rank's mean gradients, weighed by its share and summed; in one fused operation. None stays None, on every rank alike.

    An embedding's gradient comes as rows and indices; it is made dense, so that every rank sends the same shape.
    """
    import tensorflow as tf

    dense = [gradient * share for gradient in make_dense(gradients) if gradient is not None]
    sent = [tf.cast(gradient, tf.float16) for gradient in dense] if compress else dense
    *totals, votes = world.stopwatch.around(world.sum_in_graph, [*sent, world.vote.ballot(sent[0].dtype)])
    with tf.control_dependencies([world.vote.count(votes)]):
        summed = iter([tf.cast(total, gradient.dtype) for total, gradient in zip(totals, dense, strict=True)])
    return [None if gradient is None else next(summed) for gradient in gradients]


def make_dense(gradients: Sequence[Any]) -> list[Any]:
    import tensorflow as tf

    return [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
