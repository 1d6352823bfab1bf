"""P6: images to tensors, against a bare Pillow loop and PySpark's row UDFs."""

from __future__ import annotations

from benchmarks.p6.declare import declare

BENCHMARK = declare(
    "P6",
    "images",
    16_000,
    1000,
    (
        "decode JPEG files of 640 x 480 pixels, resize to 64 x 64 x 3 (bilinear)",
        "one copy of each: turned by up to 15 degrees, moved by up to 4 pixels, mirrored or not",
        "write packed uint8 tensors as Parquet",
    ),
)
