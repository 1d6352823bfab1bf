"""Data-parallel training: job.py asks launch.py for ranks; every rank runs rank.py, which trains with `model.fit`."""
