"""The sections of a recipe, each frozen and checked alone. `pipeline/config.py` puts them together.

| module | sections |
|---|---|
| `data.py` | what prepare reads: source, columns, split, normalize, encode, augment, audit, drift, prepare |
| `rules.py` | the rules of `clean` |
| `training.py` | model, train, evaluate, register, schedule |
"""
