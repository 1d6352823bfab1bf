"""What training together costs two ranks: two ranks with an all-reduce against two independent ones, each pinned to a core."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.bench import OURS, WORK_ENVIRONMENT, Benchmark, Bound, Checked, CheckFailed, Figures, Job, Side
from benchmarks.p4.drive import REDUCED
from benchmarks.p4.works import WORKS
from pipeline.train.simulate import fit_link, ring_s

ROUNDS, ROUNDS_OF_PEERS = 5, 3
LEFT_OUT = {("tf-distribute", "transformer"), ("tf-distribute", "vgg")}  # for time
STACKS = {  # name -> (module, environment, what it is)
    OURS: ("longhaul", WORK_ENVIRONMENT, "Keras' fit as a rank of `pipeline train` calls it, with the launcher's settings"),
    "horovod": ("horovod_plain", WORK_ENVIRONMENT, "DistributedGradientTape, an all-reduce a gradient, Horovod's defaults"),
    "tf-distribute": ("tf_distribute", "tfdistribute", "MultiWorkerMirroredStrategy, ring, fit of Keras 2"),
    "torch-ddp": ("torch_ddp", "torch", "PyTorch's DistributedDataParallel on gloo, defaults, eager"),
}


def side(stack: str, model: str) -> Side:
    module, environment, about = STACKS[stack]

    def command(job: Job) -> list[str | Path]:
        return [
            "{python}",
            "-m",
            "benchmarks.p4.drive",
            job.out,
            module,
            model,
            str(job.rows),
            str(ROUNDS if stack == OURS else ROUNDS_OF_PEERS),
        ]

    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    return Side(f"{stack}-{model}", command, about, environment, lambda job: quiet, sizes=(model,), repetitions=1)


def check(side: Side, job: Job, _: str) -> Checked:
    """Two ranks that trained together have the same weights to the bit; two that did not, do not."""
    record = json.loads((job.out / "report.json").read_text())
    together, alone = ([found["digest"] for found in record["weights"][pair]] for pair in ("together", "alone"))
    if len(set(together)) != 1 or len(set(alone)) != 2:
        raise CheckFailed(
            f"{side.name}: expected equal weights of the two ranks and others of independent ones. Received {record['weights']}"
        )
    versions = record["hello"][0]["versions"]
    return Checked({"parameters": record["weights"]["together"][0]["parameters"]}, own(record), versions)


def own(record: Mapping[str, Any]) -> dict[str, float]:
    """Medians over rounds. Steps/s are summed over a pair's workers; ms, CPU and switches are of a worker's step."""
    segments = record["segments"]
    rates = {name: [rate(turn) for turn in turns] for name, turns in segments.items()}
    pairs = [together / alone for together, alone in zip(rates["together"], rates["alone"], strict=True)]
    found = {f"{name}_steps_per_s": median(values) for name, values in rates.items()}
    found |= {"e_comm": found["together_steps_per_s"] / found["alone_steps_per_s"], "e_comm_low": min(pairs), "e_comm_high": max(pairs)}
    for name, turns in segments.items():
        found[f"{name}_cpu_ms"] = 1000 * median(per_step(turn, "cpu_s") for turn in turns)
        found[f"{name}_switches"] = median(per_step(turn, "switches") for turn in turns)
    return found | {f"reduce_{size}_ms": 1000 * seconds for size, seconds in record["reduce"]}


def rate(turn: list[dict[str, float]]) -> float:
    return sum(segment["steps"] / segment["wall_s"] for segment in turn)


def per_step(turn: list[dict[str, float]], figure: str) -> float:
    return sum(segment[figure] for segment in turn) / sum(segment["steps"] for segment in turn)


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    """All sides train as many parameters."""
    if len({found["parameters"] for found in checksums.values()}) > 1:
        raise CheckFailed(f"Sides trained other networks: {checksums}")


def simulated_over_measured(model: str, figures: Figures) -> float:
    """The step that the alpha-beta model expects, from a link fitted to sums alone and a step of an independent rank."""
    of = partial(figures, model, f"{OURS}-{model}")
    link = fit_link(REDUCED, [of(f"own.reduce_{size}_ms") / 1000 for size in REDUCED], 2)
    expected = 2 / of("own.alone_steps_per_s") + ring_s(4 * WORKS[model].parameters, 2, link)
    return expected * of("own.together_steps_per_s") / 2


def ours(model: str, figure: str) -> Callable[[Figures], float]:
    return lambda figures: figures(model, f"{OURS}-{model}", f"own.{figure}")


def ratio(model: str, peer: str) -> Callable[[Figures], float]:
    """Our steps per second over a peer's, two ranks each."""
    return lambda figures: ours(model, "together_steps_per_s")(figures) / figures(model, f"{peer}-{model}", "own.together_steps_per_s")


def values(models: Sequence[str]) -> dict[str, Callable[[Figures], float]]:
    found: dict[str, Callable[[Figures], float]] = {}
    for model in models:
        found[f"e_comm_{model}"] = ours(model, "e_comm")
        found[f"cpu_over_independent_{model}"] = lambda figures, model=model: (
            ours(model, "together_cpu_ms")(figures) / ours(model, "alone_cpu_ms")(figures)
        )
        found[f"simulated_over_measured_{model}"] = partial(simulated_over_measured, model)
        for peer in (stack for stack in list(STACKS)[1:] if (stack, model) not in LEFT_OUT):
            found[f"e_comm_{model}_{peer}"] = lambda figures, model=model, peer=peer: figures(model, f"{peer}-{model}", "own.e_comm")
            found[f"speed_over_{peer}_{model}"] = ratio(model, peer)
    return found


def declare(benchmark_id: str, what: str, models: Sequence[str], targets: Mapping[str, Bound]) -> Benchmark:
    return Benchmark(
        id=benchmark_id,
        title=f"E_comm, {what}: two ranks with an all-reduce over two independent ones, each pinned to a core",
        steps=(
            "T1: one worker; T2i: two independent workers; T2: two ranks that sum gradients; each worker with all its threads on a core",
            "short runs of each in turns, with the other processes stopped; medians of steps per second, summed over the workers",
            "SGD with momentum on rows in memory, the same rows a step",
        ),
        sizes={model: WORKS[model].rows for model in models},
        quick_rows=8,
        sides=tuple(side(stack, model) for model in models for stack in STACKS if (stack, model) not in LEFT_OUT),
        make_data=make_data,
        facts=lambda data, rows: {"rows_of_a_rank": rows},
        check=check,
        agree=agree,
        values=values(models),
        targets=targets,
        fairness=(
            "every stack's E_comm is against its own independent workers: a stack that computes slowly hides its communication better",
            "ours is Keras' fit with heartbeat, stopwatch and vote; horovod and torch-ddp are bare loops",
            "ranks share one processor and loopback; no figure here is about a network",
        ),
    )


def make_data(cache: Path, rows: int, say: Callable[[str], None]) -> Path:
    """Nothing: workers make their rows."""
    cache.mkdir(parents=True, exist_ok=True)
    return cache
