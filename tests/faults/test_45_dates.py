"""The partition of a date does not depend on where its machine is, nor on the calendar's odd days."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from pipeline.paths import run_id

DIGEST = "1a2b3c4d5e"
ODD = {
    "the hour that is skipped in spring": datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    "the hour that comes twice in autumn": datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    "leap day": datetime(2028, 2, 29, 12, tzinfo=UTC),
    "the last second of a year": datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
}
ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Asia/Kathmandu")


@pytest.mark.parametrize("when", ODD.values(), ids=ODD)
def test_a_date_names_the_same_run_in_every_zone_and_on_odd_days(when):
    expected = f"{when:%Y%m%dT%H%M%SZ}-1a2b3c4d"
    assert {run_id(DIGEST, when.astimezone(ZoneInfo(zone))) for zone in ZONES} == {expected}


def test_hours_that_a_clock_on_the_wall_shows_twice_are_two_runs():
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    second = (first.astimezone(UTC) + timedelta(hours=1)).astimezone(ZoneInfo("Europe/Berlin"))
    assert first.replace(tzinfo=None) == second.replace(tzinfo=None)
    assert run_id(DIGEST, first) != run_id(DIGEST, second)


def test_the_machines_own_zone_changes_nothing():
    when = "datetime(2026, 3, 29, 1, 30, tzinfo=UTC)"
    code = f"from datetime import datetime, UTC; from pipeline.paths import run_id; print(run_id({DIGEST!r}, {when}))"
    told = {
        subprocess.run([sys.executable, "-c", code], env={"TZ": zone}, capture_output=True, text=True, check=True).stdout for zone in ZONES
    }
    assert told == {"20260329T013000Z-1a2b3c4d\n"}
