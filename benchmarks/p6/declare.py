"""P6, P6A and P6T differ in what a sample is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import OURS, ROOT, Benchmark, Figures, Job, Side, at_least
from benchmarks.p6 import check, data

MANY, FEW = "many", "few"  # few: for PySpark's row UDFs, which are slow
MOST = 2  # repetitions: each takes half a minute or more
QUICK = {"images": 1000, "audio": 1000, "text": 20_000}


def declare(name: str, kind: str, many: int, few: int, steps: tuple[str, ...]) -> Benchmark:
    suffix = "_text" if kind == "text" else ""
    return Benchmark(
        id=name,
        title=f"{kind} prepare: decode, one shape, one augmented copy, write",
        steps=steps,
        sizes={FEW: few, MANY: many},
        quick_rows=QUICK[kind],
        sides=(
            Side(OURS, ours(kind), "`pipeline prepare` in a process, Spark's start included", repetitions=MOST),
            Side("bare", peer(f"bare{suffix}", kind), "a plain loop in as many processes as cores", repetitions=MOST),
            *own_loop(kind),
            Side("row-udf", peer(f"row_udf{suffix}", kind), "PySpark with row UDFs", sizes=(FEW,), repetitions=1),
            Side("spark-start", start, "our Spark session", has_result=False, sizes=(FEW,), repetitions=MOST),
        ),
        make_data=data.maker(kind),
        facts=data.facts,
        check=check.checker(kind),
        agree=check.agree,
        values={
            "bare_over_ours": lambda figures: figures(MANY, "bare") / figures(MANY, OURS),
            "bare_over_ours_after_start": lambda figures: figures(MANY, "bare") / after_start(figures, MANY, OURS),
            "own_loop_over_ours_after_start": lambda figures: figures(MANY, "own-loop") / after_start(figures, MANY, OURS),
            "speedup_over_row_udf": lambda figures: figures(FEW, "row-udf") / figures(FEW, OURS),
            "speedup_over_row_udf_after_start": lambda figures: after_start(figures, FEW, "row-udf") / after_start(figures, FEW, OURS),
            "peak_pss_mib": lambda figures: figures(MANY, OURS, "peak_pss_mib"),
            "start_s": lambda figures: figures(FEW, "spark-start"),
        },
        targets={"bare_over_ours": at_least(0.85), "speedup_over_row_udf_after_start": at_least(3)},
        fairness=(
            "ours copies train rows alone, 80 % of them; peers copy every row, which is more",
            "ours also splits, counts, audits leaks, hashes every file and writes a report; peers do not",
            "ours includes the start of Python and Spark; bare starts processes alone; the row UDF starts Spark too",
            "own-loop is the bare loop with our functions for decoding and copies, which copy less in memory than the plain ones",
            "the row UDF passes lists of numbers between UDFs, as is often seen",
        ),
    )


def own_loop(kind: str) -> tuple[Side, ...]:
    """Of images and sounds: a text's tokens have no function of their own."""
    about = "the bare loop with our functions for decoding and copies"
    return () if kind == "text" else (Side("own-loop", peer("own_loop", kind), about, repetitions=1),)


def start(job: Job) -> list[str | Path]:
    return ["{python}", "-m", "benchmarks.p6.sides.spark_start"]


def after_start(figures: Figures, size: str, side: str) -> float:
    return figures(size, side) - figures(FEW, "spark-start")


def ours(kind: str) -> Callable[[Job], list[str | Path]]:
    def command(job: Job) -> list[str | Path]:
        where: list[str | Path] = ["--set", f"source.path={job.data}", "--root", job.out]
        return [ROOT / ".venv/bin/pipeline", "prepare", ROOT / f"benchmarks/p6/{kind}.yaml", *where, "--force", "--json"]

    return command


def peer(module: str, kind: str) -> Callable[[Job], list[str | Path]]:
    return lambda job: ["{python}", "-m", f"benchmarks.p6.sides.{module}", job.data, job.out, str(job.cores), kind]
