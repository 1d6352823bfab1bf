"""What a prepared data set's columns and tensors are: the part of a prepare manifest that feed, train and evaluate rely on."""

from __future__ import annotations

import math
from typing import Literal

from pipeline.manifest import FileEntry, Manifest, Record

Task = Literal["classification", "regression", "autoencoder", "gan"]
UNLABELLED: tuple[Task, ...] = ("autoencoder", "gan")  # tasks that learn from inputs alone; an autoencoder may be measured by a label
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

# Columns that every prepared file has, besides one binary column per tensor. The label is an int64 class index, or a float32 scaled number;
# of rows without one, 0.
SAMPLE_ID, LABEL, WEIGHT = "sample_id", "label", "weight"
LABEL_SHIFT = "label_shift"  # of windows scaled by their own history: (targets, 2) float32, offset and deviation taken from the label


class Tensor(Record):
    """A packed binary column: every value is the row-major bytes of one array of this dtype and shape."""

    name: str
    dtype: Literal["uint8", "int16", "int32", "float32", "int64", "string"]
    shape: tuple[int, ...]
    mean: tuple[float, ...] | None = None  # train rows: of images per channel, in pixel units; of audio in the stored unit
    std: tuple[float, ...] | None = None
    sample_rate: int | None = None  # audio: samples in a second
    # Images: every value is such a file of this shape instead; decode it before use. utf8 goes with string: every value is a text.
    encoding: Literal["png", "jpeg", "utf8"] | None = None

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * {"uint8": 1, "int16": 2, "int32": 4, "float32": 4, "int64": 8, "string": 1024}[self.dtype]


class NumberScaler(Record):
    """x -> (f(x) - offset) / scale; a missing x becomes `fill` first. `pipeline/scaling.py` applies and inverts it.

    | method | f(x) | offset, scale |
    |---|---|---|
    | none | x | 0, 1 |
    | standard | x | mean, standard deviation |
    | minmax | x | min, max - min |
    | robust | x | median, distance of the quartiles |
    | max_abs | x | 0, largest absolute value |
    | log | sign(x) ln(1 + abs(x)) | mean and standard deviation of f(x) |
    | yeo_johnson | power transform with `power` | mean and standard deviation of f(x) |
    | quantile | share of train rows below x, between `knots` | 0, 1 |
    """

    column: str
    method: Literal["standard", "minmax", "robust", "max_abs", "log", "yeo_johnson", "quantile", "none"]
    offset: float
    scale: float
    fill: float
    power: float | None = None  # of yeo_johnson: lambda
    knots: tuple[float, ...] = ()  # of quantile: values at equally spaced shares from 0 to 1, never falling


class CategoryEncoder(Record):
    """A category column as numbers; what is not in `values`, null included, has a place of its own. See `sections/data.py: Encode`."""

    column: str
    method: Literal["one_hot", "ordinal", "vocabulary", "hash", "target"] = "one_hot"
    values: tuple[str, ...] = ()  # sorted; of vocabulary by falling frequency
    buckets: int = 0  # of hash
    means: tuple[tuple[float, ...], ...] = ()  # of target: for each value and then for the rest, over all train rows: (P,) numbers each
    fold_means: tuple[tuple[tuple[float, ...], ...], ...] = ()  # of target: [fold] -> like `means`, without that fold's rows

    @property
    def width(self) -> int:
        """Positions that it takes in the packed vector."""
        if self.method == "target":
            return len(self.means[-1])
        return {"one_hot": len(self.values) + 1, "hash": self.buckets}.get(self.method, 1)


class TimeEncoder(Record):
    """A time column as (sine, cosine) of its place in each cycle, UTC; a missing time is (0, 0)."""

    column: str
    cycles: tuple[Literal["day", "week", "year"], ...]

    @property
    def width(self) -> int:
        return 2 * len(self.cycles)


class Vocabulary(Record):
    """How texts became token ids: 0 is padding, 1 what the vocabulary does not have. Shares and lengths are of a sample of train rows."""

    column: str
    method: Literal["words", "bpe", "wordpiece"]
    size: int  # number of ids
    max_tokens: int
    file: str  # of the result's files: JSON of the `tokenizers` library
    sha256: str  # of that file
    sample_rows: int
    unknown_share: float  # of the tokens
    cut_share: float  # of the rows: longer than max_tokens
    lengths: dict[str, int]  # quantiles "0.5", "0.95", "1" of a row's tokens before it was cut


class SplitFacts(Record):
    """Rows of one split. `sources` are raw rows; `rows` also counts augmented copies."""

    rows: int
    sources: int
    label_counts: dict[str, int]  # empty for regression


class Accounting(Record):
    """rows_in = rows_out + everything dropped."""

    rows_in: int
    rows_out: int
    dropped: dict[str, int]  # rule -> rows; rules that dropped nothing are listed with 0
    nulls: dict[str, int] = {}  # column -> rows out without a value
    changed: dict[str, int] = {}  # rule that changes values -> values changed in the rows that were in when it came
    augmented: int


class WindowFacts(Record):
    """How series were cut into windows; lengths in steps."""

    history: int
    horizon: int
    gap: int
    stride: int
    period_s: float
    season: int | None
    scale: Literal["train", "history"]  # history: LABEL_SHIFT is there
    targets: tuple[NumberScaler, ...]  # of the first channels of the tensor, and of the label's
    rows: int  # kept
    train_steps: int  # that statistics are of, each once
    gaps: int  # runs of steps without a row
    lost: dict[str, int]  # why windows were not made -> windows: hole (a missing step), boundary (of a split)


class InteractionFacts(Record):
    """Ids of interactions, and the negatives of each positive. Which id is whose is in ids/user.parquet and ids/item.parquet."""

    num_users: int  # ids from 0, the unknown
    num_items: int
    feature_sizes: tuple[int, ...]  # number of ids of each item feature, in the tensor's order
    negatives: int  # of train
    candidates: int  # of validation and test
    sampling: Literal["uniform", "popularity"]


class Histogram(Record):
    """Counts between equally spaced edges; the first and last bin also hold what lies beyond."""

    edges: tuple[float, ...]  # (B + 1,)
    counts: tuple[int, ...]  # (B,)


class ColumnStatistics(Record):
    """Of one column over the train rows. A category has no moments; a number's top values are those of few distinct ones."""

    count: int  # with a value
    nulls: int
    distinct: int  # an estimate where there are many (standard error 3 %), exact up to 1,024
    top: tuple[tuple[str, int], ...] = ()  # most frequent values, at most 10; of a sample of the values where there are many
    mean: float | None = None
    std: float | None = None  # population
    min: float | None = None
    max: float | None = None
    quantiles: dict[str, float] = {}  # "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99"; within 0.2 % of the value
    histogram: Histogram | None = None


class Leak(Record):
    """One check of the leak audit."""

    check: str  # key, content, near_duplicates, group, future
    rows: int  # validation and test rows that it found in train
    share: float
    limit: float
    holds: bool


class Personal(Record):
    """How often one kind of personal data was found in a column, in all rows that were read, and what became of it."""

    column: str
    kind: str  # mail, phone, card, iban, ip, name
    count: int
    action: str  # of sections/privacy.py; ignore too


class AnonymityFacts(Record):
    """Groups of kept rows with the same quasi-identifiers."""

    columns: tuple[str, ...]
    sensitive: str | None
    rows: int
    groups: int
    k: int  # rows of the smallest group
    min_k: int
    rows_below_k: int  # rows in groups of fewer than min_k
    diversity: int | None  # l: fewest different sensitive values in a group
    min_l: int
    rows_below_l: int
    holds: bool


class ProtectionFacts(Record):
    """What the recipe's `privacy` found and did."""

    actions: dict[str, str]  # column -> action
    found: tuple[Personal, ...]
    anonymity: AnonymityFacts | None = None


class Shift(Record):
    """One column against the last published run."""

    column: str
    psi: float  # population stability index
    js: float  # Jensen–Shannon divergence, base 2: 0 to 1
    new_categories: tuple[str, ...] = ()  # at most 20
    verdict: Literal["ok", "warn", "fail"] = "ok"


class Drifted(Record):
    """The drift check; `against` is the run that was compared with."""

    against: str
    shifts: tuple[Shift, ...]


class OriginFacts(Record):
    """The training that this one starts from, as it was found."""

    source: str  # transfer.source of the recipe
    folder: str  # of its train stage; below the root, or absolute
    recipe: str
    run_id: str
    train_digest: str  # of its train manifest


class Prepared(Record):
    """`facts` of a prepare manifest."""

    task: Task
    label: str  # empty where rows have none: then the label of every prepared row is 0
    classes: tuple[str, ...]  # label value of each index, sorted; empty for regression, and where rows have no label
    tensor: Tensor
    splits: dict[SplitName, SplitFacts]
    accounting: Accounting
    label_shape: tuple[int, ...] = ()  # of one label; with dimensions, it is packed like a tensor, float32
    target: NumberScaler | None = None  # of a regression's label (of windows, of its first target); its inverse gives the raw unit back
    scalers: tuple[NumberScaler, ...] = ()
    encoders: tuple[CategoryEncoder, ...] = ()
    times: tuple[TimeEncoder, ...] = ()
    vocabulary: Vocabulary | None = None  # of a text that became token ids
    features: tuple[str, ...] = ()  # what each position of a packed vector is: `age`, `sex=Male`, `sex=(other)`
    windows: WindowFacts | None = None
    interactions: InteractionFacts | None = None
    statistics: dict[str, ColumnStatistics] = {}
    slices: tuple[str, ...] = ()  # sensitive columns kept beside the tensor, as text
    audit: tuple[Leak, ...] = ()
    drift: Drifted | None = None
    privacy: ProtectionFacts | None = None
    split_digest: str = ""  # of what decides a row's split; bounds go on only where it is the same
    split_bounds: dict[str, tuple[float, float]] = {}  # of split.by stratified: stratum -> where its hashes are cut
    inherited_bounds: dict[str, tuple[float, float]] = {}  # those that came from an earlier run
    listing: str = ""  # digest of the source's files: paths, sizes, times
    origin: OriginFacts | None = None  # of a recipe with transfer: whose scalers, encoders, image statistics and vocabulary were taken
    report: str = "report.html"


def prepared(manifest: Manifest) -> Prepared:
    return Prepared.model_validate(manifest.facts)


def files_of(manifest: Manifest, split: SplitName) -> list[FileEntry]:
    """The data files of one split, in the order that row positions are counted in."""
    return [entry for entry in manifest.files if entry.path.startswith(f"data/{split}/")]


class RankPace(Record):
    """How one rank spent an epoch, in seconds; of an epoch that was resumed, the part since then."""

    rows: int
    steps_s: float  # its training steps, waits included
    validation_s: float  # from its last step to exact metrics of all ranks
    exchange_s: float  # of the steps: sending gradients, and waiting for the slowest rank's
    feed_s: float  # of the steps: waiting for rows
    cpu_s: float  # over all its threads, of steps and validation
    memory_mb: float  # the most that the process has held so far


class Epoch(Record):
    """One line of the training history. Metrics are exact over all rows of all ranks."""

    epoch: int  # from 1
    steps: int
    metrics: dict[str, float]  # loss, val_loss, learning_rate; accuracy, val_accuracy or, in scaled units, mae, val_mae; epsilon spent
    seconds: float
    stalled: float | None = None  # share of the steps' time that the slowest feed of all ranks let them wait, 0 to 1
    ranks: tuple[RankPace, ...] = ()  # rank 0's first


class ShuffleFacts(Record):
    """How well the order of an epoch is shuffled. Labels: as if rows were stored sorted by ten classes, the worst case."""

    window_rows: int  # rows that a step can draw from: a file in each lane
    rows_left_out: int  # of an epoch, others each time
    order_correlation: float  # Spearman's, of a row's places in two epochs; 0 for independent orders
    label_run: float  # mean rows after each other with one label
    label_run_ideal: float  # … in an order drawn from all rows
    classes_per_batch: float  # mean labels in a global batch
    classes_per_batch_ideal: float


class FeedFacts(Record):
    """The feed of a training. Memory and files are those of rank 0."""

    shuffle: ShuffleFacts
    files: int
    files_read_twice: int  # in an epoch: another lane wants rows of them, and feed.memory_mb had no room to keep those
    window_mb: float  # bytes of rows that a rank holds for shuffling
    limit_mb: int  # feed.memory_mb
    stalled: float  # share of the time of all steps that they waited for rows, 0 to 1
    advice: str | None = None  # what to do about it


class PrivacyFacts(Record):
    """What is guaranteed of a training with train.privacy: (epsilon, delta)-differential privacy of each train row."""

    epsilon: float
    delta: float
    noise_multiplier: float
    max_grad_norm: float
    epsilon_budget: float
    accounting: str  # what epsilon takes for granted of the batches, in words
    noise_is_secret: bool  # False where the recipe names the noise's seed: then nothing is guaranteed


class TransferFacts(Record):
    """How a training started from another one; layers by name."""

    origin: OriginFacts
    new_layers: tuple[str, ...]  # started anew
    frozen: tuple[tuple[int, tuple[str, ...]], ...]  # (from this epoch on, these keep the origin's weights); from epoch 1


class Trained(Record):
    """`facts` of a train manifest. The model is `model.keras`, compiled with nothing; out come logits, the scaled label, or rows again.

    Of a gan it is the generator: noise in, images out.
    """

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
    feed: FeedFacts | None = None
    privacy: PrivacyFacts | None = None
    transfer: TransferFacts | None = None
    report: str | None = None  # report.html; none in results of before there was one
    start: dict[str, float] = {}  # what was reached on the way to the first step -> seconds since the command, or the stage, began


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


class ErrorRange(Record):
    """Errors of a regression in the test rows whose true value is in [low, high], in the label's raw unit."""

    low: float
    high: float
    support: int  # test rows
    mae: float
    bias: float  # mean of predicted - true


class StepError(Record):
    """Of a forecast at one step of its horizon, in the target's raw unit."""

    step: int  # from 1
    target: int  # index into the windows' targets
    mae: float
    rmse: float
    bias: float  # mean of predicted - true
    naive_mae: float  # of the best naive forecast


class Threshold(Record):
    """Of an autoencoder: the squared error above which a row is called an anomaly, and what came of it in the test rows."""

    value: float  # in scaled units
    quantile: float  # of the validation rows' errors
    validation_rows: int
    flagged: int  # test rows above it
    known: int | None = None  # test rows that are anomalies by their label
    hits: int | None = None  # of both


class LabelError(Record):
    """Mean squared error of the test rows with a label, in scaled units."""

    label: str
    support: int
    mse: float


class FeatureError(Record):
    """Of one position of a packed vector, over the test rows, in scaled units."""

    feature: str
    mse: float
    mae: float
    baseline_mse: float


class Baseline(Record):
    """What needs no model.

    The train rows' most frequent class, or their mean, for every row; of forecasts the best naive one; of an autoencoder the mean
    validation row, given back for every row; of a gan as many train images in place of generated ones.
    """

    answer: str | float  # a class's label, the mean in the label's raw unit, or in words
    metrics: dict[str, float]  # on the test split


# Metrics of the test split by task, the one that a line has room for first. A regression's are in the label's raw unit.
METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "macro_f1", "log_loss"),
    "regression": ("mae", "rmse", "r2", "median_absolute_error"),  # of forecasts skill too, against naive ones
    "autoencoder": ("mse", "mae"),  # with known anomalies auc and average_precision too
    "gan": ("frechet_distance", "kernel_distance", "coverage", "novelty"),
}
OF_ANOMALIES = ("auc", "average_precision")
OF_INTERACTIONS = ("hit_rate", "ndcg")  # of a classification of pairs, by the rank of what was taken
LOWER_IS_BETTER = frozenset({"log_loss", "mae", "rmse", "median_absolute_error", "mse", "frechet_distance", "kernel_distance"})


class Evaluated(Record):
    """`facts` of an evaluate manifest. Files: report.html, predictions.parquet, of a gan generated.parquet instead."""

    task: Task
    rows: int
    confidence: float
    metrics: dict[str, Interval]  # METRICS[task]
    baseline: Baseline
    per_class: tuple[ClassMetrics, ...] = ()  # of a classification
    confusion: tuple[tuple[int, ...], ...] = ()  # of a classification: [true][predicted]
    naive: dict[str, float] = {}  # of forecasts: mae of each naive one
    steps: tuple[StepError, ...] = ()  # of forecasts
    threshold: Threshold | None = None  # of an autoencoder
    labels: tuple[LabelError, ...] = ()  # of an autoencoder whose rows have a label
    features: tuple[FeatureError, ...] = ()  # of an autoencoder of tables
    ranges: tuple[ErrorRange, ...] = ()  # of a regression: tenths of the test rows by true value, fewer where values repeat
    report: str = "report.html"

    @property
    def headline(self) -> str:
        """Name of the metric that a line has room for."""
        if OF_ANOMALIES[0] in self.metrics:
            return OF_ANOMALIES[0]
        return METRICS[self.task][0]


class Condition(Record):
    """One condition of a gate and what was found."""

    text: str  # "accuracy >= 0.95"
    value: float | None
    holds: bool
    received: str = ""  # where it is no number


class Registered(Record):
    """`facts` of a register manifest; there is one only if the gate let the model pass."""

    model: str
    version: int
    alias: str
    previous_version: int | None  # the champion that it replaced
    mlflow_run_id: str
    conditions: tuple[Condition, ...]
