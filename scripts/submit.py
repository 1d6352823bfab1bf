"""The `pipeline` command as a file that spark-submit can take.

    spark-submit --master spark://HOST:7077 scripts/submit.py prepare conf/digits.yaml --root /shared/runs

Every worker needs the work environment under the same path (PYSPARK_PYTHON names its Python) and sees `--root` and the source.
"""

from pipeline.cli import main

main()
