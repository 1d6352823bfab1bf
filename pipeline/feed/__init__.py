"""Prepared Parquet -> batches: plan.py decides in integers, reader.py reads with Petastorm, dataset.py hands to tf.data."""
