"""YAML of a recipe -> plain values that remember their lines. Nothing is evaluated: no tags, no merge keys, no duplicates."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

Location = tuple[str | int, ...]

PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True)
class Document:
    """Plain values of a YAML file and where each was written."""

    source: str
    values: dict[str, Any]
    places: dict[Location, str] = field(default_factory=dict)  # location -> "conf/digits.yaml:12" or "--set train.epochs=3"

    def place(self, location: Location) -> str:
        """Where the value at `location`, or its nearest parent that was written down, stands."""
        for length in range(len(location), 0, -1):
            if found := self.places.get(location[:length]):
                return found
        return self.source


def read(path: Path, overrides: Sequence[str] = ()) -> Document:
    """A recipe file with `key.sub=value` overrides applied.

    Raises:
        ConfigError: no such file, not YAML, a duplicate key, a tag, or an override that is not `key=value`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Expected a recipe; those that come along are in conf/.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}).") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}. {error.context or ''}".rstrip()) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected a mapping of sections (name, source, columns …), received {describe(root)}.")
    places: dict[Location, str] = {}
    values = _plain(root, (), str(path), places)
    for override in overrides:
        _apply_override(values, places, override)
    return Document(str(path), values, places)


def describe(node: yaml.Node | None) -> str:
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    return "a single value" if isinstance(node, yaml.ScalarNode) else "nothing"


def _plain(node: yaml.Node, location: Location, source: str, places: dict[Location, str]) -> Any:
    line = f"{source}:{node.start_mark.line + 1}"
    if node.tag not in PLAIN_TAGS:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        hint = 'write it in quotes ("…") to have text' if kind == "timestamp" else "write a plain value"
        raise ConfigError(f"{line}: a value of YAML type {kind} is not accepted; {hint}.")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, location, source, places)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, item in enumerate(node.value):
            places[*location, index] = f"{source}:{item.start_mark.line + 1}"
            items.append(_plain(item, (*location, index), source, places))
        return items
    return yaml.constructor.SafeConstructor().construct_object(node)


def _mapping(node: yaml.MappingNode, location: Location, source: str, places: dict[Location, str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"{source}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            raise ConfigError(f"{line}: expected a plain key, received {key_node.tag.rpartition(':')[2]}.")
        key = str(key_node.value)
        if key in values:
            first = places[*location, key]
            raise ConfigError(f"{line}: duplicate key {key!r}; it was first set at {first}. Keep one of them.")
        places[*location, key] = line
        values[key] = _plain(value_node, (*location, key), source, places)
    return values


def _apply_override(values: dict[str, Any], places: dict[Location, str], override: str) -> None:
    path, separator, text = override.partition("=")
    keys = tuple(path.split("."))
    if not separator or not all(keys):
        raise ConfigError(f"--set {override}: expected key.sub=value, for example --set train.epochs=3.")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {error}") from None
    value = None if node is None else _plain(node, keys, f"--set {override}", {})
    _put(values, places, keys, value, f"--set {override}")


def with_values(document: Document, values: Mapping[str, Any], place: Mapping[str, str], without: Sequence[str] = ()) -> Document:
    """The document with other values, as if they had been written there; `document` stays as it is.

    Args:
        document: of a recipe.
        values: dotted key -> plain value.
        place: dotted key -> what to show as the value's place in messages.
        without: top-level sections to leave out.

    Raises:
        ConfigError: a key lies below something that is not a section.
    """
    changed, places = copy.deepcopy(document.values), dict(document.places)
    for name in without:
        changed.pop(name, None)
    for key, value in values.items():
        _put(changed, places, tuple(key.split(".")), copy.deepcopy(value), place[key])
    return Document(document.source, changed, places)


def _put(values: dict[str, Any], places: dict[Location, str], keys: tuple[str, ...], value: Any, place: str) -> None:
    target: Any = values
    for key in keys[:-1]:
        target = target.setdefault(key, {}) if isinstance(target, dict) else None
        if not isinstance(target, Mapping):
            raise ConfigError(f"{place}: {key!r} is not a section of the recipe.")
    target[keys[-1]] = value
    for location in [location for location in places if location[: len(keys)] == keys]:
        del places[location]
    places[keys] = place
