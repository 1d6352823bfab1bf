"""A number column's scaler, from the sketch of its train rows: one pass over the rows serves every method."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from pipeline.errors import DataError
from pipeline.prepare.sketch import NumberSketch
from pipeline.scaling import LARGEST, signed_log, yeo_johnson
from pipeline.schema import NumberScaler
from pipeline.sections.data import Scaling

MAX_KNOTS = 1001
POWERS = (-5.0, 5.0)
LEAST_SPREAD = 1e-7  # of the largest f(x): if train rows' f(x) were closer together, float64 would not tell them apart. See `fit_power`
NARROW = 0.01  # of the mean: every power is as good as a straight line for a column that spreads less

Numbers = NDArray[np.float64]


def fit_scaler(column: str, method: Scaling, sketch: NumberSketch) -> NumberScaler:
    """The scaler of `method` for the train rows of `column`. A missing number becomes their mean; of robust and quantile, their median.

    A constant column becomes zeros (of `max_abs` ones or minus ones, and `none` leaves it). Where the quartiles are equal though the
    column is not constant, `robust` takes the standard deviation in place of their distance.

    Raises:
        DataError: the column has no value, or one beyond float32.
    """
    check_range(column, sketch)
    power = fit_power(sketch) if method == "yeo_johnson" else None
    offset, scale = fit_line(method, sketch, power)
    return NumberScaler(
        column=column,
        method=method,
        offset=offset,
        scale=scale or 1.0,
        fill=sketch.quantile(0.5) if method in ("robust", "quantile") else sketch.mean,
        power=power,
        knots=fit_knots(sketch) if method == "quantile" else (),
    )


def check_range(column: str, sketch: NumberSketch) -> None:
    if not sketch.count:
        raise DataError(f"Column {column} has no value in any train row. Expected numbers: set role: ignore, or mend the source.")
    extreme = max(sketch.min, sketch.max, key=abs)
    if abs(extreme) > LARGEST:
        raise DataError(
            f"Column {column} holds {extreme:g} in the train rows; expected numbers within ±{LARGEST:.2g}, which float32 can hold. "
            f"Mend the source, or leave such rows out: clean.rules: [{{keep_range: {{column: {column}, min: …, max: …}}}}]."
        )


def fit_line(method: Scaling, sketch: NumberSketch, power: float | None) -> tuple[float, float]:
    """(offset, scale) of the table in `schema.NumberScaler`; scale is 0 where the train rows have no spread."""
    if method == "standard" or power == 1:
        return sketch.mean, sketch.std
    if method == "minmax":
        return sketch.min, sketch.max - sketch.min
    if method == "robust":
        low, middle, high = sketch.quantiles([0.25, 0.5, 0.75]).tolist()
        return middle, (high - low) or sketch.std
    if method == "max_abs":
        return 0.0, max(abs(sketch.min), abs(sketch.max))
    if method in ("log", "yeo_johnson"):
        values, counts = sketch.weighted_values()
        return moments(signed_log(values) if power is None else yeo_johnson(values, power), counts)
    return 0.0, 1.0


def fit_power(sketch: NumberSketch) -> float:
    """Lambda of the Yeo–Johnson transform that makes the train rows most like a normal distribution: maximum likelihood in `POWERS`.

    1 for a column whose standard deviation is within 1 % of its mean: any power is a straight line there. Nor is a power taken that
    squeezes all rows into the last digits of f(x), as -5 does with years: they become 0.2 to 17 digits. To that end the likelihood is
    that of f(x) with a noise of `LEAST_SPREAD` times the largest f(x) added; elsewhere the noise is too small to be seen.

    Source: Yeo & Johnson 2000, 10.1093/biomet/87.4.954, eq. 3.1.
    """
    if sketch.std <= NARROW * abs(sketch.mean):
        return 1.0
    values, counts = sketch.weighted_values()
    mean_log = float(np.average(signed_log(values), weights=counts))

    def minus_log_likelihood(power: float) -> float:  # of a row
        bent = yeo_johnson(values, power)
        largest = float(np.abs(bent).max()) or 1.0
        spread = moments(bent / largest, counts)[1]
        return math.log(largest) + 0.5 * math.log(spread**2 + LEAST_SPREAD**2) - (power - 1) * mean_log

    best = minimize_scalar(minus_log_likelihood, bounds=POWERS, method="bounded", options={"xatol": 1e-6})
    return round(float(best.x), 6)


def fit_knots(sketch: NumberSketch) -> tuple[float, ...]:
    """Values at equally spaced shares, from the smallest to the largest train value: as many as rows, at least 2, at most `MAX_KNOTS`."""
    num_knots = min(max(sketch.count, 2), MAX_KNOTS)
    return tuple(sketch.quantiles(np.linspace(0, 1, num_knots).tolist()).tolist())


def moments(values: Numbers, counts: NDArray[np.int64]) -> tuple[float, float]:
    """Weighted mean and population standard deviation; no square overflows."""
    largest = float(np.abs(values).max()) or 1.0
    parts = values / largest
    centre = np.average(parts, weights=counts)
    spread = math.sqrt(np.average(np.square(parts - centre), weights=counts))
    return float(centre) * largest, spread * largest
