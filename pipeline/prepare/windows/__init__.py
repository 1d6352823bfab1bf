"""Series: rows in time -> steps on a grid -> windows of a past and what comes after it.

steps.py   rows of one series -> its steps, duplicate and missing ones dealt with   pure
cut.py     steps -> which windows there are, and in which split                     pure
stage.py   rows leave the JVM, a stretch of a series at a time; steps and windows are staged
fit.py     scalers and encoders of the channels from the train steps
pack.py    windows -> tensors and labels; runs in Spark's workers
"""
