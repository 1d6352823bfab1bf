"""A real S3 server on loopback for tests: moto's, in a process of its own, with the requests that it was sent."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import boto3

SECRET = "canary-Zq7fW1vE"  # must be found nowhere


@dataclass(frozen=True)
class Store:
    """A running server."""

    endpoint: str
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> Mapping[str, str]:
        """What a user would set, and nothing of this machine's own."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(self, service: str = "s3", key: str = "tests", secret: str = SECRET):
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret
        )

    def copy_folder(self, folder: Path, bucket: str, prefix: str) -> None:
        """As `aws s3 sync` would."""
        client = self.client()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            client.upload_file(str(path), bucket, f"{prefix}/{path.relative_to(folder).as_posix()}")

    def mark(self) -> int:
        return self.log.stat().st_size

    def requests(self, since: int = 0) -> Counter[tuple[str, str]]:
        """(method, path) of what was asked for since a mark."""
        text = self.log.read_bytes()[since:].decode(errors="replace")
        return Counter(
            (method, path.partition("?")[0]) for method, path in re.findall(r'"(?:\x1b\[\d+m)*([A-Z]+) (\S+) HTTP', text)
        )  # in colours


def start(folder: Path) -> Store:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "moto.log"
    with log.open("wb") as file:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    deadline = time.monotonic() + 120
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return Store(f"http://127.0.0.1:{port}", log, process)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(log.read_text()) from None
            time.sleep(0.1)
