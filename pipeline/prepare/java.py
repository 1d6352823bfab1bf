"""How a local session's Java is started: flags, and the archive of Spark's classes that set-up makes.

Java reads, checks and links ten thousand classes out of Spark's jars at every start. From an archive (`archive.py`) it maps them as it
left them, in half of the time. Java itself refuses an archive of other jars or of another Java, and starts as if there were none.

Source: JEP 350, Dynamic CDS Archives.
"""

from __future__ import annotations

import sys
from pathlib import Path

# Java's second compiler pays off after minutes; for small data it costs more than Spark's own work.
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def archive_path() -> Path:
    """Beside the environment's packages; what removes them removes it."""
    return Path(sys.prefix) / "share" / "longhaul" / "spark-classes.jsa"


def start_options(*, is_small: bool) -> str:
    """Flags of a local session's Java.

    Args:
        is_small: the job takes seconds.
    """
    archive = archive_path()
    # Java says on stdout, where a program reads JSON, that it refuses an archive.
    archived = [f"-XX:SharedArchiveFile={archive}", "-Xlog:disable"] if archive.exists() and " " not in str(archive) else []
    return " ".join([*(QUICK_START if is_small else ()), *archived])
