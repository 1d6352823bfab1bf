"""Horovod's servers around ranks in Spark, on one interface and behind a secret.

Horovod 0.28.1 has no option for either: its servers of driver and tasks bind every interface, and its rendezvous answers anybody. So
names in its modules are replaced while it runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pipeline.train.rendezvous import address_of, handler_for, make_secret, with_secret


@contextmanager
def guarded(interface: str, over: threading.Event) -> Iterator[None]:
    """What `horovod.spark.run` opens while the block runs, here and in tasks, listens on this interface and no other.

    Args:
        interface: one that this machine and every one with tasks has.
        over: ends ranks when it is set. Horovod would make one that SIGTERM and Ctrl-C set, which the command hears itself.
    """
    from horovod.runner import gloo_run
    from horovod.runner.http.http_server import RendezvousServer
    from horovod.spark import runner

    secret = make_secret()
    variables, mapper = gloo_run.create_run_env_vars, runner._make_mapper

    class Guarded(RendezvousServer):  # type: ignore[misc]  # Horovod publishes no types
        def start(self) -> int:
            return int(super().start(handler_for(secret)))

    def run_variables(address: str, nics: Any, port: int, elastic: bool = False) -> dict[str, Any]:
        return dict(variables(with_secret(address, port, secret), nics, port, elastic))

    with ExitStack() as stack:
        listen_on(interface, stack)
        replace(stack, gloo_run, RendezvousServer=Guarded, create_run_env_vars=run_variables, register_shutdown_event=lambda: over)
        replace(stack, runner, _make_mapper=lambda *about: listening_task(mapper(*about), interface))
        yield


def listening_task(task: Callable[[int, Any], Iterable[Any]], interface: str) -> Callable[[int, Any], Iterator[Any]]:
    """Horovod's function for a Spark task, whose servers listen on one interface only."""

    def run(index: int, rows: Any) -> Iterator[Any]:
        with ExitStack() as stack:
            listen_on(interface, stack)
            yield from task(index, rows)

    return run


def listen_on(interface: str, stack: ExitStack) -> None:
    """Horovod's servers in this process bind an interface of this machine, for as long as `stack` is open."""
    from horovod.runner.common.util import network
    from horovod.runner.http import http_server

    address = address_of(interface)

    def find_port(make: Callable[[tuple[str, int]], Any]) -> tuple[Any, int]:
        server = make((address, 0))
        return server, server.server_address[1]

    for module in (network, http_server):
        replace(stack, module, find_port=find_port)


def replace(stack: ExitStack, module: Any, **names: Any) -> None:
    """Other values for names that a module has, for as long as `stack` is open."""
    for name, value in names.items():
        stack.callback(setattr, module, name, getattr(module, name))
        setattr(module, name, value)
