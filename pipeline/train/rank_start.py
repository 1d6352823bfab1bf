"""The start of a rank: `python -m pipeline.train.rank_start SPEC.json`. Python's garbage collector is off meanwhile: a tenth less time.

Loading TensorFlow and tracing a model make millions of objects that stay for good; the collector would look through them again and again.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    gc.disable()  # until the first step is done; rank.py
    from pipeline.train import rank

    return rank.main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
