"""What P1, P2, P3 and P7 declare alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.bench import OURS, WORK_ENVIRONMENT, Checked, CheckFailed, Figures, Job, Side
from benchmarks.feeds import consume
from benchmarks.feeds.rows import Kind
from pipeline.train.ranks_here import ARROW_MEMORY

FAIRNESS = (
    "rates and targets are of whole epochs taken within a graph, as fit takes them; python_rows_over_… are of a loop in Python",
    "sides that make numpy arrays and no tensors have one rate, of a loop in Python",
    "the first epoch is not timed; wall, CPU and memory are of the whole process, imports included",
    "Arrow keeps memory from one file to the next in ours, as in our ranks, and in arrow-decode-kept; all others run as they come",
    "sides of minutes run once, and take one epoch; sides bound to one core run once",
)
MOSAICML = "MosaicML Streaming: StreamingDataset(shuffle=True), StreamingDataLoader with a worker process a core, tensors of torch"
MOSAICML_WRITES = (
    "MosaicML Streaming writes its own shards first, which is not in its rate, and keeps its workers from one epoch to the next; it is "
    "measured on all cores only"
)
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
AS_RANKS = OURS, "arrow-decode-kept"  # sides whose Arrow keeps memory as that of our ranks does


def side(
    kind: Kind,
    name: str,
    module: str,
    about: str,
    *more: str,
    environment: str = WORK_ENVIRONMENT,
    cores: int | None = None,
    repetitions: int | None = None,
) -> Side:
    """A module of sides/, started as `python -m … KIND DATA OUT CORES MORE…`."""

    def command(job: Job) -> list[str | Path]:
        used = str(min(cores or job.cores, job.cores))
        return ["{python}", "-m", f"benchmarks.feeds.sides.{module}", kind.name, job.data, job.out, used, *more]

    variables = {**QUIET, **(ARROW_MEMORY if name.removesuffix("-1core") in AS_RANKS else {})}
    return Side(name, command, about, environment, lambda job: variables, repetitions=repetitions)


def on_both(kind: Kind, name: str, module: str, about: str, *more: str, repetitions: int | None = None, **options: Any) -> list[Side]:
    """The side on all cores and, as `NAME-1core`, once on one."""
    one = side(kind, f"{name}-1core", module, f"{about}; bound to one core", *more, cores=1, repetitions=1, **options)
    return [side(kind, name, module, about, *more, repetitions=repetitions, **options), one]


def rates(size: str, peers: Mapping[str, str], ours: str = OURS) -> dict[str, Callable[[Figures], float]]:
    """Our rows a second over each peer's: as `fit` takes them on all cores and on one, and by a loop in Python."""
    found = {f"rows_over_{name}": ratio(ours, peer, size) for name, peer in peers.items()}
    found |= {f"rows_over_{name}_1core": ratio(f"{ours}-1core", f"{peer}-1core", size) for name, peer in peers.items()}
    return found | {f"python_rows_over_{name}": ratio(ours, peer, size, "own.python.rows_per_s") for name, peer in peers.items()}


def check_epoch(kind: Kind, side: Side, job: Job, _: str) -> Checked:
    """The rows of each epoch that was taken, each once; ours may leave out less than a batch and a row for each lane."""
    record = json.loads((job.out / "report.json").read_text())
    for found in record["checksums"]:
        check_rows(kind, side, job, found)
    return Checked(record["checksums"][0], record["own"], record["versions"])


def check_rows(kind: Kind, side: Side, job: Job, found: Mapping[str, Any]) -> None:
    whole = consume.expected(job.rows)
    left_out = whole["rows"] - found["rows"]
    limit = kind.batch + kind.lanes if side.name.startswith("longhaul") else 0
    if not 0 <= left_out <= limit:
        raise CheckFailed(f"{side.name} gave {found['rows']} of {whole['rows']} rows. Expected all but at most {limit}.")
    if not left_out and any(found[name] != whole[name] for name in whole):
        raise CheckFailed(f"{side.name} gave other rows than there are: {found}. Expected {whole}.")
    if left_out and not 0 <= whole["ids"] - found["ids"] <= left_out * job.rows:
        raise CheckFailed(f"{side.name} gave a row twice: {found}. Expected the rest of {whole}.")


def check_report(_: Side, job: Job, __: str) -> Checked:
    record = json.loads((job.out / "report.json").read_text())
    return Checked(record["checksums"][0], record["own"], record["versions"])


def agree(checksums: Mapping[str, Mapping[str, Any]]) -> None:
    """Sides that gave the same rows gave the same values."""
    by_rows: dict[tuple[Any, ...], float] = {}
    for name, found in checksums.items():
        key = (found["rows"], found.get("ids"), found.get("squares"))
        first = by_rows.setdefault(key, found.get("first", 0.0))
        if abs(first - found.get("first", 0.0)) > 1e-4 * max(1.0, abs(first)) + 0.5:
            raise CheckFailed(f"{name} gave other values than the others for the same rows: {found.get('first')}, expected {first}.")


def facts(kind: Kind, folder: Path, rows: int) -> dict[str, float]:
    packed = sum(path.stat().st_size for path in (folder / "packed").rglob("*.parquet"))
    return {"files": kind.num_files, "row_bytes": kind.tensor.row_bytes, "packed_bytes": packed, "batch": kind.batch, "lanes": kind.lanes}


def ratio(over: str, under: str, size: str, figure: str = "own.rows_per_s") -> Callable[[Figures], float]:
    return lambda figures: figures(size, over, figure) / figures(size, under, figure)
