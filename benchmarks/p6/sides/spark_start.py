"""What Spark costs us before the first sample: our session as it is for contents, one job over nothing, and its end."""

from __future__ import annotations

from pipeline.prepare.session import spark_session

if __name__ == "__main__":
    with spark_session("start", num_bytes=0) as spark:
        spark.range(1).count()
