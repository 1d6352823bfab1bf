"""Raw rows -> prepared Parquet, on Spark. Only this folder imports pyspark; job.py is its door and imports it late.

Rows in        source, bundled, formats, tables, read: what raw files there are; typed rows, or the reason why not
Content        kinds/: a whole image, sound or text as a feature; augment/: changed copies of train rows
Decisions      validate, split, clean, fitted: expectations, splits, rules; marks, columns: how a row is taken out, columns that we add
Out of Spark   staging, tally, sketching: arranged, counted, sketched; audit: what leaked
Fitted         sketch, exact: mergeable statistics; fit, scale, encode: from train rows; baseline, drift: against the run before
Written        layout, pack, write: which rows in which file, rows to tensors, files of one row group
Shown          report, findings, wording, figures: the page; combine: statistics of several runs; infer: columns to start from
Around         session: Spark's session and errors; tasks: code in its workers
"""
