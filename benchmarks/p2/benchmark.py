"""P2: 64x64x3 images as uint8 tensors out of prepared Parquet, against TFRecord, Petastorm, arrays in memory and bare pyarrow."""

from __future__ import annotations

from functools import partial

from benchmarks.bench import OURS, Benchmark, at_least
from benchmarks.feeds import declare, rows

KIND, SIZE = rows.IMAGES, "images"
RATIOS = {
    "petastorm_recipe": "petastorm-recipe",
    "petastorm_rebatch": "petastorm-rebatch",
    "tfrecord": "tfrecord",
    "tensor_slices": "tensor-slices",
}

BENCHMARK = Benchmark(
    id="P2",
    title="feed of images: 64x64x3 uint8, batches of 256",
    steps=(
        "read every row of an epoch from disk (in-memory side: from arrays)",
        "shuffle, where the side does",
        "batches of 256 as tensors",
    ),
    sizes={SIZE: 40_000},
    quick_rows=4_000,
    sides=declare.sides_of(
        KIND,
        (OURS, "longhaul", "our feed, every row shuffled within its window"),
        ("petastorm-recipe", "petastorm_tf", "make_petastorm_dataset(reader).unbatch().batch(), decode_raw", "packed", "rows"),
        ("petastorm-rebatch", "petastorm_tf", "make_petastorm_dataset(reader).rebatch(), decode_raw", "packed", "rebatch"),
        ("tfrecord", "tensorflow_alone", "TFRecord, parsed a batch at a time", "records"),
        ("tensor-slices", "tensorflow_alone", "from_tensor_slices(arrays).batch()", "memory"),
        ("arrow-decode", "arrow_decode", "pyarrow alone: whole files decoded, nothing batched"),
    ),
    make_data=partial(rows.make, KIND),
    facts=partial(declare.facts, KIND),
    check=partial(declare.check_epoch, KIND),
    agree=declare.agree,
    values={
        **{f"rows_over_{name}": declare.ratio(OURS, peer, SIZE) for name, peer in RATIOS.items()},
        **{f"rows_over_{name}_1core": declare.ratio(f"{OURS}-1core", f"{peer}-1core", SIZE) for name, peer in RATIOS.items()},
        "share_of_arrow_decode": declare.ratio(OURS, "arrow-decode", SIZE),
        "share_of_arrow_decode_1core": declare.ratio(f"{OURS}-1core", "arrow-decode-1core", SIZE),
        "rows_per_s": lambda figures: figures(SIZE, OURS, "own.rows_per_s"),
        "peak_pss_mib": lambda figures: figures(SIZE, OURS, "peak_pss_mib"),
    },
    targets={"rows_over_tfrecord": at_least(2), "share_of_arrow_decode": at_least(0.6)},
    fairness=(
        "only ours shuffles rows; Petastorm shuffles row groups, TFRecord and arrays are read in order: that favours them",
        "Petastorm's own make_reader with NdarrayCodec, slower than what is shown of it, is not measured: it needs a pickled schema",
    ),
)
