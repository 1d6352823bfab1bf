"""The alpha-beta model beside published points, and its figure: `python -m pipeline.train.scaling docs/scaling.svg`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.train.simulate import Algorithm, Link, Machine, Step, efficiency

IMAGES = 64  # rows of a rank's step


@dataclass(frozen=True)
class Point:
    """What others measured."""

    name: str
    step: Step
    ranks: int
    efficiency: float


# Horovod on 128 hosts of 4 Pascal GPUs and 25 Gbit/s RoCE (Sergeev & Del Balso 2018, arXiv:1802.05799, and Horovod's README): 90 % for
# Inception V3 and ResNet-101, 68 % for VGG-16. Bandwidths are those of the hardware; the latency between hosts is nowhere given, so it is
# found from one point, CALIBRATION, and the other points are predicted.
PASCAL = Machine(4, Link(5e-6, 10e9), Link(0.0, 25e9 / 8))
# Images/s of one such GPU at 64 rows: TensorFlow's benchmarks of 2017 (P100); ResNet-101 from ResNet-152's by their operations, 7.8 to
# 11.5 GFLOP. Bytes: 4 a parameter. VGG-16 has 89 % of its parameters in three dense layers, whose gradients are known first.
INCEPTION = Point("Inception V3", Step(IMAGES / 142, 4 * 23.8e6), 512, 0.90)
RESNET = Point("ResNet-101", Step(IMAGES / 135, 4 * 44.5e6), 512, 0.90)
VGG = Point("VGG-16", Step(IMAGES / 154, 4 * 138.4e6, known_first=0.894), 512, 0.68)
PUBLISHED = (INCEPTION, RESNET, VGG)
CALIBRATION = RESNET
RANKS = (8, 16, 32, 64, 128, 256, 512)


def calibrate(point: Point, machine: Machine) -> Machine:
    """The machine with the latency between hosts at which the model meets a published point, by bisection.

    Raises:
        ValueError: no latency from 0.1 to 1,000 microseconds does.
    """
    low, high = 1e-7, 1e-3
    if not simulated(point, with_latency(machine, high)) <= point.efficiency <= simulated(point, with_latency(machine, low)):
        raise ValueError(f"No latency from {low} to {high} s explains {point.efficiency} of {point.name}. Look at its other numbers.")
    while high / low > 1 + 1e-9:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if simulated(point, with_latency(machine, middle)) > point.efficiency else (low, middle)
    return with_latency(machine, low)


def with_latency(machine: Machine, latency_s: float) -> Machine:
    return replace(machine, between=replace(machine.between, latency_s=latency_s))


def simulated(point: Point, machine: Machine) -> float:
    return efficiency(point.step, point.ranks, machine, "ring", overlap=True)


def table(machine: Machine) -> list[tuple[str, str, list[float]]]:
    """(network, algorithm, efficiency at each of RANKS)."""
    algorithms: tuple[Algorithm, ...] = ("ring", "hierarchical")
    return [
        (point.name, algorithm, [efficiency(point.step, ranks, machine, algorithm, overlap=True) for ranks in RANKS])
        for point in PUBLISHED
        for algorithm in algorithms
    ]


def draw(path: Path, machine: Machine) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "longhaul"  # the same file each time
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    colours = dict(zip((point.name for point in PUBLISHED), ("#1f77b4", "#2ca02c", "#d62728"), strict=True))
    for name, algorithm, values in table(machine):
        axes.plot(RANKS, values, color=colours[name], linestyle="-" if algorithm == "ring" else "--", label=f"{name}, {algorithm}")
    for point in PUBLISHED:
        is_given = point is CALIBRATION
        axes.plot([point.ranks], [point.efficiency], "o", color=colours[point.name], fillstyle="none" if is_given else "full")
    title = "Simulated (lines) and published (dots); the latency is from the open one"
    axes.set(xscale="log", xlabel="ranks, 4 a host", ylabel="efficiency", ylim=(0, 1.02), title=title)
    axes.set_xticks(RANKS, [str(ranks) for ranks in RANKS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    for known in PUBLISHED:
        found = calibrate(known, PASCAL)
        told = "  ".join(f"{point.name} {simulated(point, found):.3f} ({point.efficiency:.2f})" for point in PUBLISHED)
        print(f"from {known.name:<13} {found.between.latency_s * 1e6:5.1f} us  {told}")
    used = calibrate(CALIBRATION, PASCAL)
    draw(Path(sys.argv[1]), used)
    for name, algorithm, values in table(used):
        print(f"{name:<13} {algorithm:<13}", *(f"{value:.2f}" for value in values))
