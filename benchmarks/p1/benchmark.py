"""P1: shuffled batches of a table out of prepared Parquet, against Petastorm, TFRecord, arrays in memory, Hugging Face datasets."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, at_least
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.TABLE, "table"
RATIOS = {
    "petastorm_recipe": "petastorm-recipe",
    "petastorm_converter": "petastorm-converter",
    "petastorm_rebatch": "petastorm-rebatch",
    "petastorm_rebatch_packed": "petastorm-rebatch-packed",
    "tfrecord": "tfrecord",
    "tensor_slices": "tensor-slices",
    "huggingface": "huggingface",
    "mosaicml": "mosaicml",
    "arrow_decode": "arrow-decode",
    "arrow_decode_kept": "arrow-decode-kept",
}
both, slow = partial(declare.on_both, KIND), partial(declare.on_both, KIND, repetitions=1)

BENCHMARK = Benchmark(
    id="P1",
    title="feed of a table: 32 float32 a row, batches of 1,024",
    steps=(
        "read every row of an epoch from disk (in-memory sides: from arrays)",
        "shuffle, where the side does",
        "batches of 1,024 as tensors, every row summed up as it comes",
    ),
    sizes={SIZE: 500_000},
    quick_rows=100_000,
    sides=(
        *both(OURS, "longhaul", "our feed, every row shuffled within its window"),
        *slow("petastorm-recipe", "petastorm_tf", "make_petastorm_dataset(reader).unbatch().batch()", "columns", "rows"),
        declare.side(KIND, "petastorm-converter", "petastorm_converter", "make_spark_converter(df).make_tf_dataset()", repetitions=1),
        *both("petastorm-rebatch", "petastorm_tf", "make_petastorm_dataset(reader).rebatch(), a column a value", "columns", "rebatch"),
        *slow("petastorm-rebatch-packed", "petastorm_tf", "the same over our packed layout", "packed", "rebatch"),
        *both("tfrecord", "tensorflow_alone", "TFRecord, parsed a batch at a time", "records"),
        *both("tensor-slices", "tensorflow_alone", "from_tensor_slices(arrays).batch()", "memory"),
        *both("arrow-decode", "arrow_decode", "pyarrow alone: whole files decoded, nothing batched"),
        *both("arrow-decode-kept", "arrow_decode", "the same, with memory that is kept from one file to the next"),
        declare.side(
            KIND, "huggingface", "huggingface", "Dataset.from_parquet().shuffle().iter()", environment="huggingface", repetitions=1
        ),
        declare.side(KIND, "mosaicml", "mosaicml", declare.MOSAICML, environment="mosaicml", repetitions=1),
    ),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=partial(declare.check_epoch, KIND),
    agree=declare.agree,
    values={
        **declare.rates(SIZE, RATIOS),
        "rows_per_s": lambda figures: figures(SIZE, OURS, "own.rows_per_s"),
        "rows_per_cpu_s": lambda figures: figures(SIZE, OURS, "own.rows_per_cpu_s"),
        "peak_rss_mib": lambda figures: figures(SIZE, OURS, "peak_rss_mib"),
    },
    targets={
        "rows_over_petastorm_recipe": at_least(30),
        "rows_over_petastorm_rebatch": at_least(2),
        "rows_over_tfrecord": at_least(4),
        "rows_over_tensor_slices": at_least(2),
    },
    fairness=(
        *declare.FAIRNESS,
        "only ours, Hugging Face and MosaicML Streaming shuffle rows",
        "Petastorm shuffles row groups, TFRecord and arrays are read in order: that favours them",
        "Hugging Face gives numpy arrays and converts no batch to a tensor: that favours it",
        "Petastorm's converter writes its own files by Spark first, which is not in its rate; it is measured on all cores only",
        declare.MOSAICML_WRITES,
    ),
)
