"""Raw rows -> prepared Parquet, on Spark. Only this folder imports pyspark; job.py is its door and imports it late.

source.py     what raw files there are (no Spark)      bundled.py  scikit-learn's own data as raw files
session.py    the Spark session, its errors            read.py     raw files -> typed rows or a reason
clean.py      rules, duplicates, accounting            split.py    which split a row is in
fit.py        statistics, scalers, encoders            images.py   decode and augment one image (no Spark)
pack.py       rows -> tensors (no Spark)               write.py    one file of one row group a partition and split
"""
