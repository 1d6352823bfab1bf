"""What a model must show to be registered. Pure: numbers in, conditions out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.paths import date_of
from pipeline.schema import LOWER_IS_BETTER, Condition, Evaluated
from pipeline.sections.training import Gate, Limit, VersusChampion

SLACK = 1e-12  # of the bound, or of 1 if that is more: bounds are inclusive, and 0.98 - 0.01 need not be the float nearest to 0.97


def decide(gate: Gate, evaluated: Evaluated, champion: Mapping[str, float] | None) -> tuple[Condition, ...]:
    """Every condition of the gate, with what was found; the model passes if all of them hold.

    A value that is missing or not a number holds nothing, so what cannot be compared does not ship.

    Args:
        gate: of the recipe. Without any condition everything passes.
        evaluated: the candidate on its test split.
        champion: the registered champion's metrics, on the test split it was evaluated on; None if there is no champion.
            Then `versus_champion` holds: the first model has only its fixed bounds to pass.
    """
    values = {name: interval.value for name, interval in evaluated.metrics.items()}
    fixed = [condition for name, limit in gate.limits.items() for condition in check_limit(name, limit, values.get(name))]
    relative = [check_champion(gate.versus_champion, values, champion)] if gate.versus_champion else []
    return (*fixed, *relative)


def check_limit(metric: str, limit: Limit, value: float | None) -> Iterable[Condition]:
    if limit.min is not None:
        yield Condition(text=f"{metric} >= {limit.min}", value=value, holds=at_least(value, limit.min))
    if limit.max is not None:
        yield Condition(text=f"{metric} <= {limit.max}", value=value, holds=at_least(limit.max, value))


def check_champion(rule: VersusChampion, values: Mapping[str, float], champion: Mapping[str, float] | None) -> Condition:
    is_lower_better = rule.metric in LOWER_IS_BETTER
    value, text = values.get(rule.metric), f"{rule.metric} {'<= champion +' if is_lower_better else '>= champion -'} {rule.max_drop}"
    if champion is None:
        first = "there is no champion yet: the first model has only its fixed bounds to pass"
        return Condition(text=f"{text} ({first})", value=value, holds=True)
    best = champion.get(rule.metric)
    if best is None:
        return Condition(text=f"{text} (the champion's {rule.metric} is not recorded)", value=value, holds=False)
    holds = at_least(best + rule.max_drop, value) if is_lower_better else at_least(value, best - rule.max_drop)
    return Condition(text=f"{text} (champion: {best:.6g})", value=value, holds=holds)


def check_date(run_id: str, champion_run_id: str) -> tuple[Condition, ...]:
    """Of a gate that does not compare with the champion: the model of an older date must not replace it for having been run last.

    Args:
        run_id: the candidate's; without a date nothing is asked, nor where the champion has none.
        champion_run_id: of the run that registered it.
    """
    mine, best = date_of(run_id), date_of(champion_run_id)
    if mine is None or best is None or mine >= best:
        return ()
    text = f"a date not before the champion's, {best}, or a gate with versus_champion"
    return (Condition(text=text, value=None, holds=False, received=mine),)


def at_least(value: float | None, bound: float | None) -> bool:
    """False for a missing value or NaN, on either side."""
    return value is not None and bound is not None and value >= bound - SLACK * max(1.0, abs(bound))


def passes(conditions: Sequence[Condition]) -> bool:
    return all(condition.holds for condition in conditions)


def explain_rejection(conditions: Sequence[Condition], evaluated: Evaluated) -> str:
    """One line for each condition that does not hold: expected, received."""
    lines = []
    for condition in conditions:
        if not condition.holds:
            interval = evaluated.metrics.get(condition.text.split(" ", 1)[0])
            spread = f" ({100 * evaluated.confidence:g} % interval {interval.low:.4g} to {interval.high:.4g})" if interval else ""
            received = condition.received or "nothing" if condition.value is None else f"{condition.value:.6g}{spread}"
            lines.append(f"  expected {condition.text}, received {received}")
    return "\n".join(lines)
