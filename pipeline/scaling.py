"""Numbers to model units and back, by a scaler of the prepare manifest. `schema.NumberScaler` has the table of methods.

Both ways end within ±`LARGEST`, because what is packed and what a model answers is float32: an outlier that scales beyond it, and an
answer that no number scales to (`yeo_johnson` is bounded where its power is below 0 or above 2), are cut off there instead of becoming
infinite or NaN. So are numbers below the first or above the last knot of `quantile`. All else comes back to within rounding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import NumberScaler

LARGEST = float(np.finfo(np.float32).max)
NO_POWER = 1e-20  # (e^(p v) - 1) / p is v to the last bit for a smaller p
Numbers = NDArray[np.float64]


def scale(values: Numbers, scaler: NumberScaler) -> Numbers:
    """Raw numbers, NaN where missing, in model units; any shape. The result is finite, also once it is cast to float32."""
    filled = np.where(np.isnan(values), scaler.fill, values)
    with np.errstate(over="ignore"):
        return limit((bend(filled, scaler) - scaler.offset) / scaler.scale)


def unscale(values: Numbers, scaler: NumberScaler) -> Numbers:
    """The inverse of `scale`; any shape. NaN stays NaN, all else is finite."""
    with np.errstate(over="ignore"):
        return limit(unbend(np.asarray(values, np.float64) * scaler.scale + scaler.offset, scaler))


def bend(values: Numbers, scaler: NumberScaler) -> Numbers:
    """f(x) of the scaler's method."""
    if scaler.method == "log":
        return signed_log(values)
    if scaler.method == "yeo_johnson":
        return yeo_johnson(values, power_of(scaler))
    if scaler.method == "quantile":
        return share_below(values, np.asarray(scaler.knots))
    return values


def unbend(values: Numbers, scaler: NumberScaler) -> Numbers:
    if scaler.method == "log":
        return np.copysign(np.expm1(np.abs(values)), values)
    if scaler.method == "yeo_johnson":
        return inverse_yeo_johnson(values, power_of(scaler))
    if scaler.method == "quantile":
        return np.interp(values, shares(len(scaler.knots)), scaler.knots)
    return values


def signed_log(values: Numbers) -> Numbers:
    return np.copysign(np.log1p(np.abs(values)), values)


def yeo_johnson(values: Numbers, power: float) -> Numbers:
    """((1 + x)^p - 1) / p with p = power; of a negative x, -((1 - x)^p - 1) / p with p = 2 - power. ln(1 + abs(x)) where p = 0.

    Source: Yeo & Johnson 2000, 10.1093/biomet/87.4.954, eq. 2.1.
    """
    if power == 1:  # x itself; by way of logarithms its last digits would be lost
        return values
    logs = np.log1p(np.abs(values))
    powers = np.where(values < 0, 2 - power, power)
    with np.errstate(over="ignore"):
        bent = np.divide(np.expm1(powers * logs), powers, out=np.array(logs), where=np.abs(powers) > NO_POWER)
    return np.copysign(bent, values)


def inverse_yeo_johnson(values: Numbers, power: float) -> Numbers:
    """Infinite where no x has this value."""
    if power == 1:
        return values
    sizes = np.minimum(np.abs(values), np.finfo(np.float64).max)  # 0 times infinity would be no number
    powers = np.where(values < 0, 2 - power, power)
    with np.errstate(over="ignore", divide="ignore"):
        logs = np.divide(np.log1p(np.maximum(powers * sizes, -1)), powers, out=np.array(sizes), where=np.abs(powers) > NO_POWER)
        return np.copysign(np.expm1(logs), values)


def share_below(values: Numbers, knots: Numbers) -> Numbers:
    """Share of train rows below each value: straight lines between knots, and the lowest of its shares at a value that is several knots."""
    above = np.searchsorted(knots, values, side="left")  # the first knot that is not below
    high = np.clip(above, 1, len(knots) - 1)
    start, step = knots[high - 1], knots[high] - knots[high - 1]
    part = np.divide(values - start, step, out=np.asarray(above > 0, np.float64), where=step > 0)
    return np.asarray((high - 1 + np.clip(part, 0, 1)) / (len(knots) - 1))


def shares(num_knots: int) -> Numbers:
    return np.arange(num_knots) / (num_knots - 1)


def power_of(scaler: NumberScaler) -> float:
    return 1.0 if scaler.power is None else scaler.power


def limit(values: Numbers) -> Numbers:
    return np.clip(values, -LARGEST, LARGEST)
