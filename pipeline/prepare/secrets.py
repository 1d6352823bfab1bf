"""What privacy rules need from outside the recipe: the key of keyed hashes, and a list of names. Neither is ever written or logged."""

from __future__ import annotations

import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.prepare.personal import Names, index_names
from pipeline.sections.privacy import Privacy

MIN_KEY_BYTES = 16


class HashKey:
    """A key that does not show itself where it is printed."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "HashKey(…)"

    def digest(self, value: str) -> str:
        """HMAC-SHA256 of a text as 64 hexadecimal digits. Source: RFC 2104."""
        return hmac.digest(self._key, value.encode(), "sha256").hex()


def hash_key(privacy: Privacy) -> HashKey | None:
    """The key, from the environment; None if the rules hash nothing.

    Raises:
        ConfigError: the variable is not set, or its value is too short to be a key.
    """
    if privacy.key_from is None:
        return None
    key = os.environ.get(privacy.key_from, "").encode()
    if not key:
        raise ConfigError(
            f"privacy.key_from: the environment variable {privacy.key_from} is not set, so columns cannot be hashed. "
            f'Set it to a key of {MIN_KEY_BYTES} bytes or more, e.g. export {privacy.key_from}="$(openssl rand -hex 32)", and keep it.'
        )
    if len(key) < MIN_KEY_BYTES:
        raise ConfigError(
            f"privacy.key_from: the value of {privacy.key_from} has {len(key)} bytes; expected {MIN_KEY_BYTES} or more, "
            "or hashed values can be guessed."
        )
    return HashKey(key)


def read_names(privacy: Privacy) -> Names:
    """Raises ConfigError for a list that is not there or not UTF-8."""
    if privacy.names is None:
        return {}
    try:
        return index_names(Path(privacy.names).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"privacy.names: {privacy.names} cannot be read: {error}. Expected a UTF-8 file, one name a line.") from error


def identity(privacy: Privacy | None) -> dict[str, Any]:
    """What tells another key or list of names from this one, for the stage's key: no way leads back to either."""
    if privacy is None:
        return {}
    key = hash_key(privacy)
    names = sorted(" ".join(words) for listed in read_names(privacy).values() for words in listed)
    return {
        "hash_key": key.digest("which key this is") if key else None,
        "names": hashlib.sha256("\n".join(names).encode()).hexdigest(),
    }
