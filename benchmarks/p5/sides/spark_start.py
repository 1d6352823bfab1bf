"""What a Spark job costs before its first row: our session, one job over nothing, and its end."""

from __future__ import annotations

from pipeline.prepare.session import spark_session


def main() -> None:
    with spark_session("longhaul-start", num_bytes=200 << 20) as spark:
        spark.range(1).count()


if __name__ == "__main__":
    main()
