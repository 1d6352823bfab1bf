"""P2: 64x64x3 images as uint8 tensors out of prepared Parquet, against TFRecord, Petastorm, arrays in memory and bare pyarrow."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, at_least
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.IMAGES, "images"
RATIOS = {
    "petastorm_reader": "petastorm-reader",
    "petastorm_recipe": "petastorm-recipe",
    "petastorm_rebatch": "petastorm-rebatch",
    "tfrecord": "tfrecord",
    "tensor_slices": "tensor-slices",
    "mosaicml": "mosaicml",
}
both, slow = partial(declare.on_both, KIND), partial(declare.on_both, KIND, repetitions=1)

BENCHMARK = Benchmark(
    id="P2",
    title="feed of images: 64x64x3 uint8, batches of 256",
    steps=(
        "read every row of an epoch from disk (in-memory side: from arrays)",
        "shuffle, where the side does",
        "batches of 256 as tensors, every row summed up as it comes",
    ),
    sizes={SIZE: 24_000},
    quick_rows=4_000,
    sides=(
        *both(OURS, "longhaul", "our feed, every row shuffled within its window"),
        *slow("petastorm-reader", "petastorm_rows", "make_reader, NdarrayCodec, make_petastorm_dataset(reader).batch()"),
        *slow("petastorm-recipe", "petastorm_tf", "make_batch_reader, unbatch().batch(), decode_raw", "packed", "rows"),
        *both("petastorm-rebatch", "petastorm_tf", "make_batch_reader, rebatch(), decode_raw", "packed", "rebatch"),
        *both("tfrecord", "tensorflow_alone", "TFRecord, parsed a batch at a time", "records"),
        *both("tensor-slices", "tensorflow_alone", "from_tensor_slices(arrays).batch()", "memory"),
        *both("arrow-decode", "arrow_decode", "pyarrow alone: whole files decoded, nothing batched"),
        *both("arrow-decode-kept", "arrow_decode", "the same, with memory that is kept from one file to the next"),
        declare.side(KIND, "mosaicml", "mosaicml", declare.MOSAICML, environment="mosaicml", repetitions=1),
    ),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=partial(declare.check_epoch, KIND),
    agree=declare.agree,
    values={
        **declare.rates(SIZE, RATIOS),
        "share_of_arrow_decode": declare.ratio(OURS, "arrow-decode", SIZE),
        "share_of_arrow_decode_1core": declare.ratio(f"{OURS}-1core", "arrow-decode-1core", SIZE),
        "share_of_arrow_decode_kept": declare.ratio(OURS, "arrow-decode-kept", SIZE),
        "rows_per_s": lambda figures: figures(SIZE, OURS, "own.rows_per_s"),
        "rows_per_cpu_s": lambda figures: figures(SIZE, OURS, "own.rows_per_cpu_s"),
        "peak_rss_mib": lambda figures: figures(SIZE, OURS, "peak_rss_mib"),
    },
    targets={
        "rows_over_petastorm_reader": at_least(20),
        "rows_over_tfrecord": at_least(2),
        "share_of_arrow_decode": at_least(0.6),
    },
    fairness=(
        *declare.FAIRNESS,
        "only ours and MosaicML Streaming shuffle rows",
        "Petastorm shuffles row groups, TFRecord and arrays are read in order: that favours them",
        declare.MOSAICML_WRITES,
        "bare pyarrow reads row after row as they lie; ours puts each in its place of a random order, which is one copy more",
    ),
)
