"""P4: what training together costs two ranks, for small networks."""

from __future__ import annotations

from benchmarks.bench import at_least
from benchmarks.p4.declare import declare

BENCHMARK = declare("P4", "small networks", ("cnn", "transformer"), {"e_comm_cnn": at_least(0.95)})
