"""How a local session's Java is started: flags, and the archive of Spark's classes that set-up makes.

Java reads, checks and links ten thousand classes out of Spark's jars at every start. From an archive (`archive.py`) it maps them as it
left them, in half of the time. Java itself refuses an archive of other jars or of another Java, and starts as if there were none.

Source: JEP 350, Dynamic CDS Archives.
"""

from __future__ import annotations

import sys
from pathlib import Path

SMALL_BYTES, MEDIUM_BYTES = 32 << 20, 512 << 20  # of source

# Java's second compiler costs more than Spark's own work on small data, and pays off after minutes. Where it does, most of its time goes
# into code that plans queries and is hot only for a moment: it waits ten times longer than Java's own thresholds say.
FIRST_COMPILER = ("-XX:TieredStopAtLevel=1",)
PATIENT_COMPILER = (
    "-XX:Tier4InvocationThreshold=50000",
    "-XX:Tier4MinInvocationThreshold=6000",
    "-XX:Tier4CompileThreshold=150000",
    "-XX:Tier4BackEdgeThreshold=400000",
)


def archive_path() -> Path:
    """Beside the environment's packages; what removes them removes it."""
    return Path(sys.prefix) / "share" / "longhaul" / "spark-classes.jsa"


def start_options(num_bytes: int) -> str:
    """Flags of a local session's Java.

    Args:
        num_bytes: of the source that it will read.
    """
    archive = archive_path()
    # Java says on stdout, where a program reads JSON, that it refuses an archive.
    archived = [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"] if archive.exists() and " " not in str(archive) else []
    compilers = FIRST_COMPILER if num_bytes < MEDIUM_BYTES else PATIENT_COMPILER
    return " ".join([*compilers, *(["-XX:+UseSerialGC"] if num_bytes < SMALL_BYTES else []), *archived])
