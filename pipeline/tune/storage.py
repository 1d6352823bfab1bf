"""Where a search is kept: SQLite in its folder, or a PostgreSQL that an environment variable names. No URL is ever shown."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import optuna
import sqlalchemy
import sqlalchemy.exc
from optuna.storages import RDBStorage, get_storage

from pipeline.attempt import locked
from pipeline.errors import ConfigError, InfrastructureError
from pipeline.tune.slots import GRACE_S, HEARTBEAT_S, reopen

DATABASE = "study.db"


def open_storage(folder: Path, variable: str | None, environment: Mapping[str, str] = os.environ) -> optuna.storages.BaseStorage:
    """The search's database, with its tables.

    Args:
        folder: of the search; SQLite is in it.
        variable: name of the environment variable with a PostgreSQL URL; None for SQLite.
        environment: where the variable is looked up.

    Raises:
        ConfigError: the variable is not set, or holds no PostgreSQL URL.
        InfrastructureError: the database cannot be used.
    """
    url = f"sqlite:///{folder.resolve() / DATABASE}" if variable is None else database_url(variable, environment)
    # A connection for each use: a search asks seldom, over hours in which a server may be started anew.
    options: dict[str, Any] = {"connect_args": {"timeout": 120}} if variable is None else {"poolclass": sqlalchemy.NullPool}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with known_failures(variable, environment), locked(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        rules: dict[str, Any] = {"heartbeat_interval": HEARTBEAT_S, "grace_period": GRACE_S, "heartbeat_stale_trial_callback": reopen}
        return get_storage(RDBStorage(url, engine_kwargs=options, **rules))


def database_url(variable: str, environment: Mapping[str, str]) -> str:
    """SQLAlchemy's URL of a PostgreSQL, by the driver that is installed."""
    text = environment.get(variable)
    expected = f"Expected {variable}=postgresql://user:password@host:port/database; tune.storage of the recipe names the variable"
    if not text:
        raise ConfigError(f"The environment variable {variable} is not set. {expected}.")
    scheme, separator, rest = text.partition("://")
    if scheme not in ("postgresql", "postgres", "postgresql+psycopg") or not separator:
        raise ConfigError(f"The environment variable {variable} holds no PostgreSQL URL (its text is not shown). {expected}.")
    url = f"postgresql+psycopg://{rest}"
    try:
        sqlalchemy.make_url(url)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        problem = f"The environment variable {variable} holds a URL that cannot be read (its text is not shown)"
        raise ConfigError(f"{problem}. {expected}.") from None
    return url


@contextmanager
def known_failures(variable: str | None, environment: Mapping[str, str] = os.environ) -> Iterator[None]:
    """Database errors inside the block become InfrastructureError, without the URL and its secrets.

    Raises:
        InfrastructureError: the database failed.
    """
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        url = environment.get(variable, "") if variable else ""
        where = "The search's SQLite" if variable is None else f"The PostgreSQL that {variable} names"
        # `from None`: a chained error would be printed with its URL in a trace.
        raise InfrastructureError(
            f"{where} cannot be used: {without_secrets(str(error.__cause__ or error), url)}. Check that the server is up, that user and "
            "database exist, and that the disk has space; then run the same command again: it goes on from what is recorded."
        ) from None


def without_secrets(text: str, url: str) -> str:
    """The first line of a message, with the URL's user, password and query values cut out."""
    parts = urlsplit(url)
    values = [parts.password, parts.username, *(value for _, value in parse_qsl(parts.query))]
    values += [unquote(value) for value in values if value]
    first = text.strip().splitlines()[0] if text.strip() else "no message"
    for secret in sorted({value for value in (url, *values) if value}, key=len, reverse=True):
        first = first.replace(secret, "***")
    return first.rstrip(".")[:300]
