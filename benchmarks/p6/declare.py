"""P6 and P6A differ in their kind of file alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import OURS, ROOT, Benchmark, Figures, Job, Side, at_least
from benchmarks.p6 import check, data

FILES = "files"


def declare(name: str, kind: str, rows: int, steps: tuple[str, ...]) -> Benchmark:
    return Benchmark(
        id=name,
        title=f"{kind} prepare: decode, one shape, one augmented copy, write",
        steps=steps,
        sizes={FILES: rows},
        quick_rows=1000,
        sides=(
            Side(OURS, ours(kind), "`pipeline prepare` in a process, Spark's start included"),
            Side("bare", peer("bare", kind), "a plain loop in as many processes as cores"),
            Side("row-udf", peer("row_udf", kind), "PySpark with row UDFs", repetitions=2),
            Side("spark-start", lambda job: ["{python}", "-m", "benchmarks.p5.sides.spark_start"], "our Spark session", has_result=False),
        ),
        make_data=data.maker(kind),
        facts=data.facts,
        check=check.checker(kind),
        agree=check.agree,
        values={
            "bare_over_ours_after_start": lambda figures: figures(FILES, "bare") / after_start(figures),
            "bare_over_ours": lambda figures: figures(FILES, "bare") / figures(FILES, OURS),
            "speedup_over_row_udf": lambda figures: figures(FILES, "row-udf") / figures(FILES, OURS),
            "peak_pss_mib": lambda figures: figures(FILES, OURS, "peak_pss_mib"),
            "start_s": lambda figures: figures(FILES, "spark-start"),
        },
        targets={"bare_over_ours": at_least(0.85), "speedup_over_row_udf": at_least(3)},
        fairness=(
            "ours copies train rows alone, 80 % of them; peers copy every row, which is more",
            "ours also splits, counts pixels or samples, audits leaks, hashes every file and writes a report; peers do not",
            "ours includes the start of Python and Spark; bare starts processes alone",
            "the row UDF passes lists of numbers between two UDFs, as is often seen",
        ),
    )


def after_start(figures: Figures) -> float:
    return figures(FILES, OURS) - figures(FILES, "spark-start")


def ours(kind: str) -> Callable[[Job], list[str | Path]]:
    def command(job: Job) -> list[str | Path]:
        where: list[str | Path] = ["--set", f"source.path={job.data}", "--root", job.out]
        return [ROOT / ".venv/bin/pipeline", "prepare", ROOT / f"benchmarks/p6/{kind}.yaml", *where, "--force", "--json"]

    return command


def peer(module: str, kind: str) -> Callable[[Job], list[str | Path]]:
    return lambda job: ["{python}", "-m", f"benchmarks.p6.sides.{module}", job.data, job.out, str(job.cores), kind]
