"""The start of a rank: `python -m pipeline.train.rank_start SPEC.json`, which loads what a rank needs and nothing else.

Python's garbage collector is off meanwhile: loading TensorFlow and tracing a model make millions of objects that stay for good, and the
collector would look through them again and again. That is a tenth of the time.

Keras loads libraries that it can do without, if they are installed: scikit-learn, with SciPy, for wrappers that make a model an estimator
of scikit-learn's, and Matplotlib for galleries of images. They are a fifth of the time, and no rank uses them.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def main(arguments: Sequence[str]) -> int:
    gc.disable()  # until the first step is done; rank.py
    callbacks = json.loads(Path(arguments[0]).read_text())["recipe"]["train"]["callbacks"]
    with missing("sklearn", *([] if callbacks["custom"] else ["matplotlib"])):  # a callback of the user's own may draw with Keras
        from pipeline.train import rank

    return rank.main(arguments)


@contextmanager
def missing(*packages: str) -> Iterator[None]:
    """While the block runs, packages that are not loaded yet cannot be: importing one is an ImportError, as if it were not installed."""
    hidden = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is how Python spells it
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
