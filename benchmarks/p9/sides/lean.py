"""As `bare`, where Keras finds neither scikit-learn nor Matplotlib, which it would load: what a rank of ours does."""

from __future__ import annotations

from benchmarks.p9.sides import bare
from pipeline.train.rank_start import missing

if __name__ == "__main__":
    with missing("sklearn", "matplotlib"):
        bare.main()
