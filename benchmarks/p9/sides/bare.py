"""TensorFlow, Keras and the model of conf/digits.yaml, in a process of its own; when each was there, since the process was started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.progress import process_age_s


def main() -> None:
    import tensorflow as tf

    tensorflow_s = process_age_s()
    import keras

    from models import cnn

    keras_s = process_age_s()
    arguments = json.loads((Path(sys.argv[1]) / "model.json").read_text())
    model: Any = cnn.build(**arguments)
    own = {"tensorflow_s": tensorflow_s, "keras_s": keras_s, "built_s": process_age_s()}
    record = {"own": own, "parameters": model.count_params(), "versions": {"tensorflow": tf.__version__, "keras": keras.__version__}}
    (Path(sys.argv[2]) / "report.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
