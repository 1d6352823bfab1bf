"""P6A: sounds to tensors, against a bare loop and PySpark's row UDFs."""

from __future__ import annotations

from benchmarks.p6.declare import declare

BENCHMARK = declare(
    "P6A",
    "audio",
    8000,
    600,
    (
        "decode WAV files of three seconds, stereo, 44.1 kHz; mix to mono, resample to 16 kHz, cut or fill up to a second",
        "one copy of each: shifted by up to a tenth, up to 6 dB louder or softer, white noise at 10 to 30 dB",
        "write packed int16 tensors as Parquet",
    ),
)
