"""What the time that training waits for rows means. Pure; the clock itself is in stall_clock.py."""

from __future__ import annotations

ADVICE_ABOVE = 0.05  # share of the time of steps
WORTH_S = 2.0  # seconds of waiting in a whole training that nobody would notice


def share(waited_s: float, steps_s: float) -> float:
    """Of the time that steps took, what they spent waiting for rows; 0 to 1."""
    return min(1.0, max(0.0, waited_s / steps_s)) if steps_s > 0 else 0.0


def advice(stalled: float, waited_s: float, *, cache: str, window_mb: float, memory_mb: int) -> str | None:
    """What to do about it, or None where there is nothing to do."""
    if stalled <= ADVICE_ABOVE or waited_s <= WORTH_S:
        return None
    ways = ["set feed.cache: memory if the data fits, or disk if it comes over a network"] if cache == "none" else []
    if window_mb * 2 > memory_mb:
        ways.append(f"raise feed.memory_mb (now {memory_mb}), so that more is read ahead")
    ways += ["give each rank a core for reading (fewer ranks a host)", "prepare fewer bytes a row"]
    return (
        f"Training waited {waited_s:.0f} s for rows, {stalled:.0%} of its time (at most {ADVICE_ABOVE:.0%} expected): "
        + "; ".join(ways)
        + "."
    )
