"""The alpha-beta model beside published points, and its figure: `python -m pipeline.train.scaling docs/scaling.svg`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from pipeline.train.simulate import Link, Machine, Step, efficiency

IMAGES = 64  # rows of a rank's step


@dataclass(frozen=True)
class Point:
    """What others measured."""

    name: str
    step: Step
    ranks: int
    efficiency: float


# Horovod on 128 hosts of 4 Pascal GPUs and 25 Gbit/s RoCE (Sergeev & Del Balso 2018, arXiv:1802.05799, and Horovod's README): 90 % for
# Inception V3 and ResNet-101, 68 % for VGG-16. The latency is the one number chosen so that all three are met; all else is given.
PASCAL = Machine(4, Link(5e-6, 10e9), Link(15e-6, 25e9 / 8))
# Images/s of one such GPU at 64 rows: TensorFlow's benchmarks of 2017 (P100); ResNet-101 from ResNet-152's by their operations, 7.8 to
# 11.5 GFLOP. Bytes: 4 a parameter. VGG-16 has 89 % of its parameters in three dense layers, whose gradients are known first.
PUBLISHED = (
    Point("Inception V3", Step(IMAGES / 142, 4 * 23.8e6), 512, 0.90),
    Point("ResNet-101", Step(IMAGES / 135, 4 * 44.5e6), 512, 0.90),
    Point("VGG-16", Step(IMAGES / 154, 4 * 138.4e6, known_first=0.894), 512, 0.68),
)
RANKS = (8, 16, 32, 64, 128, 256, 512)


def table() -> list[tuple[str, str, list[float]]]:
    """(network, algorithm, efficiency at each of RANKS)."""
    return [
        (point.name, algorithm, [efficiency(point.step, ranks, PASCAL, algorithm, overlap=True) for ranks in RANKS])
        for point in PUBLISHED
        for algorithm in ("ring", "hierarchical")
    ]


def draw(path: Path) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "longhaul"  # the same file each time
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    colours = dict(zip((point.name for point in PUBLISHED), ("#1f77b4", "#2ca02c", "#d62728"), strict=True))
    for name, algorithm, values in table():
        axes.plot(RANKS, values, color=colours[name], linestyle="-" if algorithm == "ring" else "--", label=f"{name}, {algorithm}")
    for point in PUBLISHED:
        axes.plot([point.ranks], [point.efficiency], "o", color=colours[point.name])
    axes.set(xscale="log", xlabel="ranks, 4 a host", ylabel="efficiency", ylim=(0, 1.02), title="Simulated (lines) and published (dots)")
    axes.set_xticks(RANKS, [str(ranks) for ranks in RANKS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="lower left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
    for name, algorithm, values in table():
        print(f"{name:<13} {algorithm:<13}", *(f"{value:.2f}" for value in values))
