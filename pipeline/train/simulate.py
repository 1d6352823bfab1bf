"""How training would scale to machines that are not here: an alpha-beta model of all-reduce that overlaps with the backward pass.

Never a measurement. A message of m bytes takes alpha + m * beta seconds (Hockney 1994). A ring all-reduce of n ranks sends 2(n-1) messages
of m/n bytes (Patarasuk & Yuan 2009); a hierarchical one sums within each host first, then over hosts, then gives back. Loads no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["ring", "hierarchical"]


@dataclass(frozen=True)
class Link:
    """Between two ranks."""

    latency_s: float  # alpha, of a message
    bytes_per_s: float  # 1 / beta

    def send(self, num_bytes: float) -> float:
        return self.latency_s + num_bytes / self.bytes_per_s


@dataclass(frozen=True)
class Machine:
    """A cluster of equal hosts."""

    ranks_per_host: int
    inside: Link  # between ranks of a host
    between: Link  # between hosts; ranks of a host share it


@dataclass(frozen=True)
class Step:
    """One training step of a rank alone."""

    compute_s: float  # forward and backward pass and update
    gradient_bytes: float
    backward_share: float = 2 / 3  # of compute_s: gradients become known during it
    known_first: float = 0.0  # share of the bytes that are known as it begins (large dense layers at the end); the rest evenly
    fusion_bytes: float = 64 * 2**20  # what is sent at once, at most (Horovod's default)


def ring_s(num_bytes: float, ranks: int, link: Link) -> float:
    """Seconds of a ring all-reduce; 0 for one rank."""
    return 2 * (ranks - 1) * link.send(num_bytes / ranks) if ranks > 1 else 0.0


def all_reduce_s(num_bytes: float, ranks: int, machine: Machine, algorithm: Algorithm) -> float:
    """Seconds of an all-reduce over `ranks` ranks that fill hosts one after another.

    A flat ring crosses from host to host, so its slowest link is that between hosts; ranks of a host do not compete for it, because only
    one of them sends across. The hierarchical one has every rank of a host carry its part between hosts, all over the one link.
    """
    local = min(ranks, machine.ranks_per_host)
    hosts = -(-ranks // machine.ranks_per_host)
    if hosts == 1:
        return ring_s(num_bytes, ranks, machine.inside)
    if algorithm == "ring":
        slowest = Link(
            max(machine.inside.latency_s, machine.between.latency_s), min(machine.inside.bytes_per_s, machine.between.bytes_per_s)
        )
        return ring_s(num_bytes, ranks, slowest)
    return ring_s(num_bytes, local, machine.inside) + ring_s(num_bytes, hosts, machine.between)


def step_s(step: Step, ranks: int, machine: Machine, algorithm: Algorithm, *, overlap: bool) -> float:
    """Seconds of a step on every rank.

    Args:
        overlap: messages of at most `fusion_bytes` leave as soon as their gradients are known, one after another; otherwise all
            leave as one when the backward pass is over.
    """
    if not overlap:
        return step.compute_s + all_reduce_s(step.gradient_bytes, ranks, machine, algorithm)
    count = max(1, -(-int(step.gradient_bytes) // int(step.fusion_bytes)))
    part = step.gradient_bytes / count
    backward_s = step.compute_s * step.backward_share
    free_at = 0.0
    for index in range(count):
        rest = max(0.0, (index + 1) / count - step.known_first) / (1 - step.known_first)  # done of the backward pass
        known_at = step.compute_s - backward_s * (1 - rest)
        free_at = max(free_at, known_at) + all_reduce_s(part, ranks, machine, algorithm)
    return max(step.compute_s, free_at)


def efficiency(step: Step, ranks: int, machine: Machine, algorithm: Algorithm, *, overlap: bool) -> float:
    """Of `ranks` times the speed of one rank, the share that is reached; above 0, at most 1."""
    return step.compute_s / step_s(step, ranks, machine, algorithm, overlap=overlap)


def fit_link(sizes: Sequence[float], seconds: Sequence[float], ranks: int) -> Link:
    """The link that explains measured ring all-reduces best, in the relative sense.

    Args:
        sizes: (N,) bytes, at least two different ones.
        seconds: (N,) measured, > 0.
        ranks: that took part, >= 2.

    Raises:
        ValueError: the measurements do not grow with the size.
    """
    # seconds = a + b * size, each row weighed by 1 / seconds: least squares by hand, 2 x 2.
    weights = [1 / second**2 for second in seconds]
    total = sum(weights)
    mean_size = sum(weight * size for weight, size in zip(weights, sizes, strict=True)) / total
    mean_s = sum(weight * second for weight, second in zip(weights, seconds, strict=True)) / total
    above = sum(weight * (size - mean_size) * (second - mean_s) for weight, size, second in zip(weights, sizes, seconds, strict=True))
    below = sum(weight * (size - mean_size) ** 2 for weight, size in zip(weights, sizes, strict=True))
    if below == 0 or above <= 0:
        raise ValueError(f"{list(seconds)} s for {list(sizes)} bytes do not grow with the size; measure again, over a wider range")
    slope = above / below
    messages = 2 * (ranks - 1)
    return Link(max(0.0, mean_s - slope * mean_size) / messages, messages / ranks / slope)
