"""Interactions: rows of user, item, time -> ids, splits by each user's time, negatives.

stage.py     rows leave the JVM, all of a user together; splits, and what each user took, are staged
sample.py    items that a user did not take                                                    pure
fit.py       ids of users, items and item features, from the train rows
pack.py      positives and their negatives as tensors; runs in Spark's workers

docs/interactions.md says what a recipe may ask for.
"""
