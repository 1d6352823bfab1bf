"""The gate lets through what holds every condition, and nothing that cannot be compared."""

from __future__ import annotations

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.register.gate import decide, explain_rejection, passes
from pipeline.schema import METRICS, OF_ANOMALIES, OF_INTERACTIONS, Baseline, Evaluated, Interval
from pipeline.sections.training import Gate, Limit, VersusChampion

shares = st.floats(0, 1)
anything = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([math.nan, math.inf, -math.inf]))


def evaluated(**values):
    metrics = {name: Interval(value=value, low=value, high=value) for name, value in values.items()}
    return Evaluated(task="regression", rows=10, confidence=0.95, metrics=metrics, baseline=Baseline(answer=0.0, metrics={}))


def versus(max_drop=0.01, metric="accuracy"):
    return Gate(versus_champion=VersusChampion(metric=metric, max_drop=max_drop))


@given(shares, shares)
def test_a_minimum_holds_exactly_from_its_bound_on(value, bound):
    passed = passes(decide(Gate(accuracy=Limit(min=bound)), evaluated(accuracy=value), None))
    assert passed == (value >= bound or math.isclose(value, bound, rel_tol=0, abs_tol=1e-12))


@given(shares, shares)
def test_a_maximum_holds_exactly_up_to_its_bound(value, bound):
    passed = passes(decide(Gate(log_loss=Limit(max=bound)), evaluated(log_loss=value), None))
    assert passed == (value <= bound or math.isclose(value, bound, rel_tol=0, abs_tol=1e-12))


@given(anything, anything, st.floats(0, 1))
def test_nan_never_passes(value, best, max_drop):
    gate = Gate(accuracy=Limit(min=-1e300), macro_f1=Limit(max=1e300), versus_champion=VersusChampion(metric="accuracy", max_drop=max_drop))
    conditions = decide(gate, evaluated(accuracy=value, macro_f1=value), {"accuracy": best})
    assert [condition.holds for condition in conditions[:2]] == [False, False] or not math.isnan(value)
    assert not conditions[2].holds or not (math.isnan(value) or math.isnan(best))


@given(shares, shares, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_better_candidate_never_does_worse_against_the_champion(value, best, max_drop, gain):
    before, after = (passes(decide(versus(max_drop), evaluated(accuracy=a), {"accuracy": best})) for a in (value, value + gain))
    assert after or not before


@pytest.mark.parametrize(
    ("value", "best", "passed"),
    [(0.97, 0.98, True), (0.969, 0.98, False), (0.99, 0.98, True), (0.945, 0.955, True)],
    ids=["at the bound", "below", "better", "at a bound that floats miss"],
)
def test_a_candidate_may_be_worse_than_the_champion_by_max_drop(value, best, passed):
    assert passes(decide(versus(0.01), evaluated(accuracy=value), {"accuracy": best})) == passed


@pytest.mark.parametrize(
    ("metric", "value", "best", "passed"),
    [
        ("mae", 45.5, 45.0, True),
        ("mae", 45.6, 45.0, False),
        ("mae", 12.0, 45.0, True),
        ("rmse", 45_000_000.5, 45_000_000.0, True),
        ("log_loss", 0.3, 0.9, True),
        ("r2", 0.1, 0.5, True),
        ("r2", -0.1, 0.5, False),
    ],
)
def test_where_lower_is_better_a_candidate_may_be_higher_by_max_drop(metric, value, best, passed):
    (condition,) = decide(versus(0.5, metric), evaluated(**{metric: value}), {metric: best})
    assert condition.holds == passed
    assert condition.text.startswith(f"{metric} >= champion - 0.5" if metric == "r2" else f"{metric} <= champion + 0.5")


@given(shares, shares, st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_smaller_error_never_does_worse_against_the_champion(value, best, max_drop, gain):
    before, after = (passes(decide(versus(max_drop, "mae"), evaluated(mae=a), {"mae": best})) for a in (value + gain, value))
    assert after or not before


def test_a_champion_of_another_task_holds_nothing():
    (condition,) = decide(versus(metric="mae"), evaluated(mae=1.0), {"accuracy": 0.9})
    assert not condition.holds


def test_a_gate_can_bound_and_compare_every_metric_that_is_evaluated():
    every = {name for names in METRICS.values() for name in names} | {"skill", *OF_ANOMALIES, *OF_INTERACTIONS}  # of some recipes
    assert set(Gate.model_fields) - {"versus_champion"} == every
    assert set(get_args(VersusChampion.model_fields["metric"].annotation)) == every


def test_the_first_model_has_no_champion_to_beat_but_its_fixed_bounds_to_pass():
    gate = versus().model_copy(update={"accuracy": Limit(min=0.9)})
    first, second = decide(gate, evaluated(accuracy=0.5), None)
    assert (first.holds, second.holds) == (False, True)
    assert "no champion yet" in second.text


def test_a_champion_without_the_metric_holds_nothing():
    (condition,) = decide(versus(), evaluated(accuracy=1.0), {})
    assert not condition.holds
    assert "not recorded" in condition.text


def test_a_metric_that_was_not_evaluated_holds_nothing():
    (condition,) = decide(Gate(macro_f1=Limit(min=0.0)), evaluated(accuracy=1.0), None)
    assert (condition.holds, condition.value) == (False, None)


def test_a_gate_without_conditions_passes():
    assert passes(decide(Gate(), evaluated(accuracy=0.0), None))


def test_a_rejection_lists_only_what_does_not_hold_with_expected_and_received():
    gate = Gate(accuracy=Limit(min=0.95), macro_f1=Limit(min=0.1))
    result = evaluated(accuracy=0.9, macro_f1=0.9)
    assert explain_rejection(decide(gate, result, None), result) == ("  expected accuracy >= 0.95, received 0.9 (95 % interval 0.9 to 0.9)")
