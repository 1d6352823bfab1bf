"""Two hosts on one machine: network namespaces with a cable between them and an sshd each. Nothing of them is left afterwards."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
PORT = 2222
INTERFACE = "cable0"
NUMBERS = itertools.count()


@cache
def why_not() -> str | None:
    """What this machine lacks for such hosts, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not all(shutil.which(name) for name in ("ip", "ssh", "ssh-keygen")) or sshd() is None:
        return "iproute2, openssh-client or openssh-server is missing: apt-get install iproute2 openssh-client openssh-server"
    space = f"lh{os.getpid()}try"
    cable = ["link", "add", "try0", "type", "veth", "peer", "name", "try1"]
    tried = [["ip", "netns", "add", space], ["ip", "-n", space, *cable], ["ip", "netns", "exec", space, "true"]]
    done = [subprocess.run(command, capture_output=True, text=True, check=False) for command in tried]
    subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)
    failed = next((command.stderr.strip() for command in done if command.returncode), None)
    return f"this machine may not make network namespaces: {failed}" if failed is not None else None


def sshd() -> str | None:
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@dataclass(frozen=True)
class Hosts:
    """Hosts `a` and `b` as `ssh -F config` knows them."""

    spaces: dict[str, str]
    config: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # host -> its sshd

    def on(self, host: str, *command: str) -> list[str]:
        """A command that runs on a host."""
        return ["ip", "netns", "exec", self.spaces[host], *command]

    def cut(self) -> None:
        """Take the cable out."""
        subprocess.run(["ip", "-n", self.spaces["b"], "link", "set", INTERFACE, "down"], check=True)

    def mend(self) -> None:
        """Put it back."""
        subprocess.run(["ip", "-n", self.spaces["b"], "link", "set", INTERFACE, "up"], check=True)

    def start(self, host: str) -> None:
        """A host's sshd, and with it the host."""
        folder = self.config.parent
        with (folder / f"sshd-{host}.log").open("ab") as log:
            command = self.on(host, str(sshd()), "-D", "-e", "-f", str(folder / f"sshd-{host}"))
            self.daemons[host] = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, host: str) -> None:
        """Everything on a host at once, as when its power fails."""
        for pid in self.processes(host):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if host in self.daemons:
            self.daemons.pop(host).wait()

    def processes(self, host: str) -> list[int]:
        said = subprocess.run(["ip", "netns", "pids", self.spaces[host]], capture_output=True, text=True, check=False).stdout
        return [int(line) for line in said.split()]


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    folder.mkdir(parents=True, exist_ok=True)
    number = next(NUMBERS)
    spaces = {name: f"lh{os.getpid()}n{number}{name}" for name in ADDRESSES}
    hosts = Hosts(spaces, folder / "ssh_config")
    try:
        for name, space in spaces.items():
            run("ip", "netns", "add", space)
            own = Path("/etc/netns") / space  # `ip netns exec` puts what is there over /etc
            own.mkdir(parents=True)
            (own / "hosts").write_text(f"127.0.0.1 localhost\n{ADDRESSES[name]} {socket.gethostname()}\n")
        peer = ("peer", "name", INTERFACE, "netns", spaces["b"])
        run("ip", "link", "add", INTERFACE, "netns", spaces["a"], "type", "veth", *peer)
        for name, space in spaces.items():
            run("ip", "-n", space, "address", "add", f"{ADDRESSES[name]}/24", "dev", INTERFACE)
            run("ip", "-n", space, "link", "set", INTERFACE, "up")
            run("ip", "-n", space, "link", "set", "lo", "up")
        write_keys(folder)
        Path("/run/sshd").mkdir(exist_ok=True)
        for name in spaces:
            config = folder / f"sshd-{name}"
            config.write_text(
                f"ListenAddress {ADDRESSES[name]}:{PORT}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\nPidFile none\n"
                "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
            )
            hosts.start(name)
        for name in spaces:
            wait_for_ssh(hosts, name, folder)
        yield hosts
    finally:
        for name, space in spaces.items():
            hosts.kill(name)
            subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns") / space, ignore_errors=True)


def write_keys(folder: Path) -> None:
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    public = (folder / "host.pub").read_text().rsplit(" ", 1)[0]
    (folder / "known").write_text("".join(f"[{address}]:{PORT} {public}\n" for address in ADDRESSES.values()))
    shared = f"  Port {PORT}\n  User root\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
    blocks = [f"Host {name}\n  HostName {address}\n{shared}  StrictHostKeyChecking yes\n" for name, address in ADDRESSES.items()]
    (folder / "ssh_config").write_text("".join(blocks))


def wait_for_ssh(hosts: Hosts, name: str, folder: Path) -> None:
    deadline = time.monotonic() + 60
    other = "b" if name == "a" else "a"
    command = hosts.on(other, "ssh", "-F", str(hosts.config), "-o", "BatchMode=yes", name, "true")
    while (tried := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        assert time.monotonic() < deadline, tried.stderr + (folder / f"sshd-{name}.log").read_text()
        time.sleep(0.2)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
