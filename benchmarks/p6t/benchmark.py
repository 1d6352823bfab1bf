"""P6T: lines to token ids, against a bare loop and PySpark's row UDFs."""

from __future__ import annotations

from benchmarks.p6.declare import declare

BENCHMARK = declare(
    "P6T",
    "text",
    200_000,
    20_000,
    (
        "take tags and entities out of lines of 20 to 200 words, compose accents, collapse white space",
        "learn a vocabulary of 8,000 words from train rows; 128 token ids a line, padded",
        "one copy of each without a tenth of its words",
        "write packed int32 tensors as Parquet",
    ),
)
