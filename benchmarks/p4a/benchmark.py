"""P4A: what training together costs two ranks, for 25M parameters."""

from __future__ import annotations

from benchmarks.bench import at_least
from benchmarks.p4.declare import declare

BENCHMARK = declare("P4A", "25M parameters", ("vgg",), {"e_comm_vgg": at_least(0.90)})
