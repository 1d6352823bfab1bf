"""All that knows Horovod: plain collectives, and the Keras 3 optimizer that uses them. A one-process twin needs no Horovod.

Horovod's own Keras layer speaks Keras 2 and is not used (horovod#4290). Imports are late: the launcher uses `rendezvous` and must
not load TensorFlow.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.train.stopwatch import Stopwatch

if TYPE_CHECKING:
    import keras

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class World:
    """Which rank of how many, and what ranks can do together. This one is alone: every sum is its own value.

    Every method is collective: all ranks must call it, in the same order.
    """

    rank: int = 0
    size: int = 1
    stopwatch: Stopwatch = field(default_factory=Stopwatch, compare=False)  # of sums within the graph

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

        hvd.init()
        super().__init__(hvd.rank(), hvd.size())

    def sum(self, arrays: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        import horovod.tensorflow as hvd

        return [np.asarray(hvd.allreduce(array, op=hvd.Sum, name=f"sum_{index}")) for index, array in enumerate(arrays)]

    def sum_in_graph(self, gradients: Sequence[Any]) -> list[Any]:
        import horovod.tensorflow as hvd

        return self.stopwatch.around(lambda tensors: list(hvd.grouped_allreduce(list(tensors), op=hvd.Sum)), gradients)

    def from_rank_0(self, array: NDArray[Any]) -> NDArray[Any]:
        import horovod.tensorflow as hvd

        return np.asarray(hvd.broadcast(array, root_rank=0, name="from_rank_0"))

    def share_variables(self, variables: Sequence[Any]) -> None:
        import horovod.tensorflow as hvd

        hvd.broadcast_variables([variable.value for variable in variables], root_rank=0)


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
    if world.size == 1:
        return optimizer
    base: type = type(optimizer)

    class Distributed(base):  # type: ignore[misc]  # the base is known at run time only
        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            return super().apply(sum_gradients(grads, world, share, compress=compress), trainable_variables)

    return Distributed.from_config(optimizer.get_config())


def sum_gradients(gradients: Sequence[Any], world: World, share: float, *, compress: bool = False) -> list[Any]:
    """Each rank's mean gradients, weighed by its share and summed; in one fused operation. None stays None, on every rank alike.

    An embedding's gradient comes as rows and indices; it is made dense, so that every rank sends the same shape.
    """
    import tensorflow as tf

    dense = [tf.convert_to_tensor(gradient) * share for gradient in gradients if gradient is not None]
    sent = [tf.cast(gradient, tf.float16) for gradient in dense] if compress else dense
    summed = iter([tf.cast(total, gradient.dtype) for total, gradient in zip(world.sum_in_graph(sent), dense, strict=True)])
    return [None if gradient is None else next(summed) for gradient in gradients]


@contextmanager
def rendezvous(size: int) -> Iterator[list[dict[str, str]]]:
    """Serve the meeting point of `size` ranks on this host, on loopback, while the block runs.

    Yields:
        (size,) the environment variables that make a process rank 0, 1 … of this world.
    """
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.gloo_run import create_run_env_vars, create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer
    from horovod.runner.util.threads import in_thread

    slots = get_host_assignments(parse_hosts(f"localhost:{size}"), size)
    # Horovod's RendezvousServer listens on all interfaces and runs what a peer sends (CVE-2024-10190): loopback only.
    server = RendezvousHTTPServer((LOOPBACK, 0), RendezvousHandler, 0)
    server.init(slots)
    thread = in_thread(server.serve_forever)
    shared = create_run_env_vars(LOOPBACK, ["lo"], server.server_address[1])
    try:
        yield [{key: str(value) for key, value in {**shared, **create_slot_env_vars(slot)}.items()} for slot in slots]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
