"""Where ranks meet: Horovod's own rendezvous, on one named address, for those who know the secret. Loads no TensorFlow."""

from __future__ import annotations

import fcntl
import hmac
import secrets
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pipeline.errors import ConfigError, InfrastructureError

LOOPBACK = "127.0.0.1"
SIOCGIFADDR = 0x8915  # linux/sockios.h


@contextmanager
def rendezvous(slots: Sequence[tuple[str, int]], address: str = LOOPBACK) -> Iterator[list[dict[str, str]]]:
    """Serve the meeting point of ranks while the block runs.

    Horovod's own server listens on all interfaces and answers anybody (CVE-2024-10190). This one listens on `address` alone, and every
    path must begin with a secret made for this job: Horovod's client builds its URLs as http://ADDR:PORT/SCOPE/KEY from two variables,
    so the secret goes into the address, after the real port.

    Args:
        slots: hosts and how many ranks each takes; ranks are numbered in this order.
        address: to listen on; one that every host reaches.

    Yields:
        (size,) environment variables that make a process rank 0, 1 … of this world. HOROVOD_GLOO_IFACE is `lo`, for the host to change.
    """
    from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
    from horovod.runner.gloo_run import create_run_env_vars, create_slot_env_vars
    from horovod.runner.http.http_server import RendezvousHTTPServer
    from horovod.runner.util.threads import in_thread

    secret = make_secret()
    plan = get_host_assignments(parse_hosts(",".join(f"{host}:{count}" for host, count in slots)), sum(count for _, count in slots))
    server: Any = RendezvousHTTPServer((address, 0), handler_for(secret), 0)
    server.init(plan)
    thread = in_thread(server.serve_forever)
    port = server.server_address[1]
    shared = create_run_env_vars(with_secret(address, port, secret), ["lo"], port)
    try:
        yield [{key: str(value) for key, value in {**shared, **create_slot_env_vars(slot)}.items()} for slot in plan]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def check_horovod() -> None:
    """Before ranks are started that would need it.

    Raises:
        InfrastructureError: it is not installed, or does not load.
    """
    try:
        import horovod.runner  # noqa: F401
    except ImportError as error:
        raise InfrastructureError(
            f"Several ranks need Horovod, and it cannot be used here: {error}. `pipeline doctor` says what is wrong with it; "
            "one rank trains without it: --set train.ranks=1."
        ) from error


def make_secret() -> str:
    return secrets.token_hex(16)


def with_secret(address: str, port: int, secret: str) -> str:
    """What Horovod takes for the server's address."""
    return f"{address}:{port}/{secret}"


def handler_for(secret: str) -> type:
    """Horovod's handler of requests, for those whose path begins with the secret."""
    from horovod.runner.http.http_server import RendezvousHandler

    class Guarded(RendezvousHandler):  # type: ignore[misc]  # Horovod publishes no types
        def parse_request(self) -> bool:
            if not super().parse_request():
                return False
            first, _, rest = self.path.removeprefix("/").partition("/")
            if not hmac.compare_digest(first.partition(":")[0].encode(), secret.encode()):
                self.send_error(403)
                return False
            self.path: str = f"/{rest}"
            return True

    return Guarded


def pick_interface(names: Sequence[str]) -> str:
    """The first of the named interfaces that this machine has.

    Raises:
        ConfigError: it has none of them.
    """
    there = [name for _, name in socket.if_nameindex()]
    for name in names:
        if name in there:
            return name
    raise ConfigError(
        f"{socket.gethostname()} has none of the interfaces {', '.join(names)}; it has {', '.join(there)}. Set launch.interfaces to the "
        "network between the hosts."
    )


def address_of(interface: str) -> str:
    """The IPv4 address of an interface.

    Raises:
        ConfigError: it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            packed = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", interface.encode()))
        except OSError as error:
            raise ConfigError(
                f"Interface {interface} of {socket.gethostname()} has no IPv4 address ({error}). Set launch.interfaces to one that has."
            ) from error
    return socket.inet_ntoa(packed[20:24])
