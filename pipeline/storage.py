"""Files on any file system: local paths by the operating system, `s3://` and `hdfs://` URLs by fsspec. The only fsspec importer.

Credentials are the environment's (AWS_ACCESS_KEY_ID, AWS_PROFILE, a role of the machine …; AWS_ENDPOINT_URL names another server than
Amazon's). They are never part of a URL, a recipe or a manifest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from pipeline.errors import ConfigError, InfrastructureError
from pipeline.paths import Place, Remote

SCHEMES = ("s3", "hdfs")
CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30  # for a part of an answer; s3fs tries five times
BLOCK_BYTES = 16 << 20  # asked for at a time
CHUNK_BYTES = 1 << 20


def remote(url: str) -> Remote:
    """A store's folder, as a person writes it.

    Raises:
        ConfigError: it is no URL of a store that we know, or it carries credentials (which are not repeated in the message).
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"A URL of {parts.scheme}:// that holds credentials would be written into logs. Expected them in the environment, "
            "for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
        )
    if parts.scheme not in SCHEMES or not parts.netloc or parts.query or parts.fragment:
        expected = "s3://bucket/folder or hdfs://host:port/folder"
        raise ConfigError(f"{url!r} names no store. Expected {expected}; for a folder of this machine use --root.")
    return Remote(url.rstrip("/"))


def place(text: str) -> Place:
    """What `str(place)` was made of."""
    return Remote(text) if "://" in text else Path(text)


def absolute(where: Place) -> Place:
    return where if isinstance(where, Remote) else where.resolve()


def open_file(where: Place) -> IO[bytes]:
    """For reading; one that is replaced meanwhile is an error, not a mixture. Raises FileNotFoundError, InfrastructureError."""
    if not isinstance(where, Remote):
        return where.open("rb")
    with explained(where):
        opened: IO[bytes] = store_of(where).open(path_on(where), "rb")
        return opened


def chunks(where: Place) -> Iterator[bytes]:
    """A file's content, a megabyte at a time. Raises FileNotFoundError, InfrastructureError."""
    with open_file(where) as file:
        while True:
            with explained(where):
                chunk = file.read(CHUNK_BYTES)
            if not chunk:
                return
            yield chunk


def read_bytes(where: Place) -> bytes:
    """Raises FileNotFoundError, InfrastructureError."""
    if not isinstance(where, Remote):
        return where.read_bytes()
    with explained(where):
        content: bytes = store_of(where).cat_file(path_on(where))
        return content


def size_of(where: Place) -> int:
    """In bytes. Raises FileNotFoundError, InfrastructureError."""
    if not isinstance(where, Remote):
        return where.stat().st_size
    with explained(where):
        return int(store_of(where).info(path_on(where))["size"])


def exists(where: Place) -> bool:
    try:
        size_of(where)
    except FileNotFoundError:
        return False
    return True


def put_files(source: Place, target: Remote, names: Sequence[str]) -> None:
    """Copy files of this machine, or of the same store, many at a time; what is there is replaced. Raises InfrastructureError."""
    if not names:
        return
    store, targets = store_of(target), [path_on(target / name) for name in names]
    with explained(target):
        if isinstance(source, Remote):
            store.copy([path_on(source / name) for name in names], targets)  # the store does it by itself
        else:
            store.put([str(source / name) for name in names], targets)


def folders(where: Remote) -> list[Remote]:
    """What lies in a folder. Raises InfrastructureError."""
    with explained(where):
        try:
            return [where / str(path).rpartition("/")[2] for path in store_of(where).ls(path_on(where), detail=False)]
        except FileNotFoundError:
            return []


def version_of(where: Remote) -> str | None:
    """What changes whenever a file is written anew, None if there is no file. Raises ConfigError, InfrastructureError."""
    if where.scheme != "s3":
        raise ConfigError(
            f"{where}: only S3 can publish safely here, by a put that fails if another one came first. Prepare under --root, copy the "
            "run's prepare folder there (hdfs dfs -put), its manifest.json last, and give --data to the stages that read it."
        )
    with explained(where):
        try:
            return str(store_of(where).info(path_on(where))["ETag"])
        except FileNotFoundError:
            return None


def put_if_unchanged(where: Remote, content: bytes, seen: str | None) -> bool:
    """Write a file if it is still the one that was seen; whether it was.

    Args:
        where: on a store that `version_of` accepts.
        content: the whole file.
        seen: what `version_of` gave; None if there was no file.

    Source: Amazon S3 user guide, "Conditional writes": If-None-Match and If-Match of PutObject.
    """
    condition = {"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen}
    with explained(where):
        try:
            store_of(where).pipe_file(path_on(where), content, **condition)
        except Exception as error:
            if answers(error) & {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                return False
            raise
    return True


def answers(error: BaseException) -> set[str]:
    """S3's codes for what went wrong."""
    found = [getattr(cause, "response", None) for cause in causes(error)]
    return {str(response.get("Error", {}).get("Code")) for response in found if isinstance(response, dict)}


def check_access(where: Remote) -> None:
    """Whether a store can be reached, lets us in, and has the bucket: asked before anything else is begun.

    Raises:
        ConfigError: there are no credentials, they are refused, or there is no such bucket.
        InfrastructureError: its server does not answer.
    """
    store = store_of(where)
    bucket = path_on(where).split("/", 1)[0] if where.scheme == "s3" else "/"
    try:
        with explained(where):
            store.invalidate_cache()
            store.call_s3("head_bucket", Bucket=bucket) if where.scheme == "s3" else store.info(bucket)
    except FileNotFoundError:
        server = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "Amazon's server"
        raise ConfigError(f"{where}: there is no bucket {bucket} on {server}. Create it, or correct the URL or AWS_ENDPOINT_URL.") from None
    except Refused as error:
        raise ConfigError(str(error)) from error.__cause__


def store_of(where: Remote) -> Any:
    """Its fsspec file system, one for a process and server: it keeps connections, and it keeps no listing, since others write."""
    if where.scheme == "s3":
        return connect("s3", "")
    return connect(where.scheme, urlsplit(where.url).netloc)


@cache
def connect(scheme: str, server: str) -> Any:
    """Raises InfrastructureError where a client of HDFS is missing."""
    import fsspec

    if scheme == "s3":
        options = {"config_kwargs": {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S}}
        return fsspec.filesystem("s3", use_listings_cache=False, default_block_size=BLOCK_BYTES, **options)
    host, _, port = server.partition(":")
    try:
        return fsspec.filesystem(scheme, host=host, port=int(port or 0), use_listings_cache=False)
    except Exception as error:  # of libhdfs, of Java
        raise InfrastructureError(
            f"{scheme}://{server} cannot be reached: {error}. Expected Hadoop's client: JAVA_HOME, HADOOP_HOME, and in CLASSPATH what "
            "`hadoop classpath --glob` prints."
        ) from error


def forget_connections() -> None:
    """Look at the environment anew."""
    if connect.cache_info().currsize:
        import fsspec

        fsspec.get_filesystem_class("s3").clear_instance_cache()
    connect.cache_clear()


def path_on(where: Remote) -> str:
    """As its file system writes it: `bucket/key`, or `/path` of HDFS."""
    _, _, path = where.url.partition("://")
    return path if where.scheme == "s3" else "/" + path.partition("/")[2]


class Refused(InfrastructureError):
    """The store does not let us in."""


@contextmanager
def explained(where: Place) -> Iterator[None]:
    """What a store's client raises, as our errors; FileNotFoundError passes.

    Raises:
        Refused: no credentials, or not these.
        InfrastructureError: anything else that is no missing file.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        failure = failure_of(error, where)
        if failure is None:
            raise
        raise failure from error


def failure_of(error: BaseException, where: Place) -> InfrastructureError | None:
    """The error that a store's client means, or None if it is not the client's."""
    if not isinstance(where, Remote) or isinstance(error, FileNotFoundError):
        return None
    names = {type(cause).__name__ for cause in causes(error)}
    if names & {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound"}:
        return Refused(
            f"{where}: no credentials. Expected AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or a role of this machine."
        )
    if isinstance(error, PermissionError):
        return Refused(f"{where}: the store refuses these credentials ({error}). Check AWS_ACCESS_KEY_ID, AWS_PROFILE and their rights.")
    if is_of_client(error) or (isinstance(error, OSError) and error.errno is not None):
        return InfrastructureError(
            f"{where}: {type(error).__name__}: {error}. Expected an answer of the store: check AWS_ENDPOINT_URL and the network, then run "
            "the same command again."
        )
    return None


def is_of_client(error: BaseException) -> bool:
    """Whether the store or the way to it failed."""
    owners = {type(cause).__module__.partition(".")[0] for cause in causes(error)}
    return bool(owners & {"botocore", "aiobotocore", "aiohttp"}) or isinstance(error, TimeoutError | ConnectionError)


def causes(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__
