"""What a prepared data set's columns and tensors are: the part of a prepare manifest that feed, train and evaluate rely on."""

from __future__ import annotations

import math
from typing import Literal

from pipeline.manifest import FileEntry, Manifest, Record

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# Columns that every prepared file has, besides one binary column per tensor.
SAMPLE_ID, LABEL, WEIGHT = "sample_id", "label", "weight"


class Tensor(Record):
    """A packed binary column: every value is the row-major bytes of one array of this dtype and shape."""

    name: str
    dtype: Literal["uint8", "float32", "int64"]
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None = None  # images: per channel, train rows, in pixel units
    std: tuple[float, ...] | None = None

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * {"uint8": 1, "float32": 4, "int64": 8}[self.dtype]


class NumberScaler(Record):
    """x -> (x - offset) / scale; nulls become `fill` first."""

    column: str
    method: Literal["standard", "minmax", "none"]
    offset: float
    scale: float
    fill: float


class CategoryEncoder(Record):
    """One-hot over `values` and one more place for everything else, null included."""

    column: str
    values: tuple[str, ...]


class SplitFacts(Record):
    """Rows of one split. `sources` are raw rows; `rows` also counts augmented copies."""

    rows: int
    sources: int
    label_counts: dict[str, int]


class Accounting(Record):
    """rows_in = rows_out + everything dropped."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int]  # rule -> rows; rules that dropped nothing are listed with 0
    augmented: int


class ColumnStatistics(Record):
    """Of one number column, over train rows."""

    count: int
    nulls: int
    mean: float
    std: float  # population
    min: float
    max: float


class Prepared(Record):
    """`facts` of a prepare manifest."""

    task: Literal["classification"]
    label: str
    classes: tuple[str, ...]  # label value of each index, sorted
    tensor: Tensor
    splits: dict[SplitName, SplitFacts]
    accounting: Accounting
    scalers: tuple[NumberScaler, ...] = ()
    encoders: tuple[CategoryEncoder, ...] = ()
    statistics: dict[str, ColumnStatistics] = {}
    slices: tuple[str, ...] = ()  # sensitive columns kept beside the tensor, as text


def prepared(manifest: Manifest) -> Prepared:
    return Prepared.model_validate(manifest.facts)


def files_of(manifest: Manifest, split: SplitName) -> list[FileEntry]:
    """The data files of one split, in the order that row positions are counted in."""
    return [entry for entry in manifest.files if entry.path.startswith(f"data/{split}/")]


class Epoch(Record):
    """One line of the training history. Metrics are exact over all rows of all ranks."""

    epoch: int  # from 1
    steps: int
    metrics: dict[str, float]  # loss, accuracy, val_loss, val_accuracy, learning_rate
    seconds: float


class Trained(Record):
    """`facts` of a train manifest. The model is `model.keras`, logits out, compiled with nothing."""

    model: str = "model.keras"
    num_parameters: int
    ranks: int
    global_batch: int
    steps_per_epoch: int
    best_epoch: int  # from 1; the epoch whose weights the model has
    stopped_early: bool
    resumed_from: str | None  # "epoch 3, step 40" if an earlier attempt's checkpoint was continued
    weight_digest: str
    history: tuple[Epoch, ...]


class Interval(Record):
    """A metric of the test split with its confidence interval."""

    value: float
    low: float
    high: float


class ClassMetrics(Record):
    """Of one class against the rest. `support`: test rows of the class."""

    label: str
    support: int
    precision: float
    recall: float
    f1: float


class Evaluated(Record):
    """`facts` of an evaluate manifest. Files: report.html, predictions.parquet."""

    rows: int
    confidence: float
    metrics: dict[str, Interval]  # accuracy, macro_f1, log_loss
    baseline_accuracy: float  # of always answering the most frequent train class
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]  # [true][predicted]
    report: str = "report.html"


class Condition(Record):
    """One condition of a gate and what was found."""

    text: str  # "accuracy >= 0.95"
    value: float | None
    holds: bool


class Registered(Record):
    """`facts` of a register manifest; there is one only if the gate let the model pass."""

    model: str
    version: int
    alias: str
    previous_version: int | None  # the champion that it replaced
    mlflow_run_id: str
    conditions: tuple[Condition, ...]
