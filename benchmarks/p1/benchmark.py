"""P1: shuffled batches of a table out of prepared Parquet, against Petastorm, TFRecord, arrays in memory, Hugging Face datasets."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, at_least
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.TABLE, "table"
RATIOS = {
    "petastorm_recipe": "petastorm-recipe",
    "petastorm_rebatch": "petastorm-rebatch",
    "petastorm_rebatch_packed": "petastorm-rebatch-packed",
    "tfrecord": "tfrecord",
    "tensor_slices": "tensor-slices",
    "huggingface": "huggingface",
    "arrow_decode": "arrow-decode",
}

BENCHMARK = Benchmark(
    id="P1",
    title="feed of a table: 32 float32 a row, batches of 1,024",
    steps=(
        "read every row of an epoch from disk (in-memory sides: from arrays)",
        "shuffle, where the side does",
        "batches of 1,024 as tensors",
    ),
    sizes={SIZE: 2_000_000},
    quick_rows=100_000,
    sides=(
        *declare.sides_of(
            KIND,
            (OURS, "longhaul", "our feed, every row shuffled within its window"),
            ("petastorm-recipe", "petastorm_tf", "make_petastorm_dataset(reader).unbatch().batch()", "columns", "rows"),
            ("petastorm-rebatch", "petastorm_tf", "make_petastorm_dataset(reader).rebatch(), a column a value", "columns", "rebatch"),
            ("petastorm-rebatch-packed", "petastorm_tf", "the same over our packed layout", "packed", "rebatch"),
            ("tfrecord", "tensorflow_alone", "TFRecord, parsed a batch at a time", "records"),
            ("tensor-slices", "tensorflow_alone", "from_tensor_slices(arrays).batch()", "memory"),
            ("arrow-decode", "arrow_decode", "pyarrow alone: whole files decoded, nothing batched"),
        ),
        declare.side(KIND, "huggingface", "huggingface", "Dataset.from_parquet().shuffle().iter()", environment="huggingface"),
    ),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=partial(declare.check_epoch, KIND),
    agree=declare.agree,
    values={
        **{f"rows_over_{name}": declare.ratio(OURS, peer, SIZE) for name, peer in RATIOS.items()},
        **{
            f"rows_over_{name}_1core": declare.ratio(f"{OURS}-1core", f"{peer}-1core", SIZE)
            for name, peer in RATIOS.items()
            if name != "huggingface"
        },
        "rows_per_s": lambda figures: figures(SIZE, OURS, "own.rows_per_s"),
        "peak_pss_mib": lambda figures: figures(SIZE, OURS, "peak_pss_mib"),
    },
    targets={
        "rows_over_petastorm_recipe": at_least(30),
        "rows_over_petastorm_rebatch": at_least(2),
        "rows_over_tfrecord": at_least(4),
        "rows_over_tensor_slices": at_least(2),
    },
    fairness=(
        "only ours and Hugging Face shuffle rows; Petastorm shuffles row groups, TFRecord and arrays are read in order: that favours them",
        "rates are of epochs after the first one, taken by the side; wall, CPU and memory are of the whole process, imports included",
        "Hugging Face gives numpy arrays and converts no batch to a tensor: that favours it",
        "MosaicML Streaming needs torch, 2 GB beside today's TensorFlow, and is not measured; nor is Petastorm's Spark converter",
    ),
)
