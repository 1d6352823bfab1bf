"""The best trial as a recipe that can be run: the file as it was written, comments and all, with the trial's values in their places."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline import config, recipe_file
from pipeline.errors import ConfigError
from pipeline.recipe_file import Document
from pipeline.tune.space import trial_document


def write_best(path: Path, source: Path, document: Document, overrides: Sequence[str], point: Mapping[str, Any], header: str) -> None:
    """Write `path`, and make sure that it says what the trial trained.

    Args:
        path: the file to write.
        source: the recipe's file.
        document: what was read from it, `overrides` applied.
        overrides: `key=value` texts, as of `--set`.
        point: the trial's values by dotted key.
        header: comment lines for its top.
    """
    values = {key: value_at(document, key) for key in (override.partition("=")[0] for override in overrides)} | dict(point)
    edited = source.read_text(encoding="utf-8")
    try:
        for key, value in values.items():
            edited = with_value(edited, key.split("."), value)
        text = header + edited
        write_whole(path, text)
        found = config.check(recipe_file.read(path), source.resolve().parent, source_exists=False)
        if without_search(found) == expected(document, source, point):
            return
    except (ConfigError, yaml.YAMLError):
        pass
    # A file that the edit cannot follow, such as one with anchors: the resolved recipe, without comments.
    write_whole(path, header + yaml.safe_dump(expected(document, source, point), sort_keys=False, allow_unicode=True))


def expected(document: Document, source: Path, point: Mapping[str, Any]) -> dict[str, Any]:
    return without_search(config.check(trial_document(document, point, 0), source.resolve().parent, source_exists=False))


def without_search(recipe: config.Recipe) -> dict[str, Any]:
    return {name: section for name, section in recipe.resolved().items() if name != "tune"}


def value_at(document: Document, key: str) -> Any:
    value: Any = document.values
    for part in key.split("."):
        value = value[part]
    return value


def with_value(text: str, keys: Sequence[str], value: Any) -> str:
    """YAML text with the value at `keys` replaced, or put in where there is none; everything else stays byte for byte.

    Raises:
        ConfigError: a key lies below something that is not a mapping.
    """
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for depth, key in enumerate(keys):
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{'.'.join(keys[:depth])} is not a section.")
        found = next((item for name, item in node.value if name.value == key), None)
        if found is None:
            for missing in reversed(keys[depth + 1 :]):
                value = {missing: value}
            return put_in(text, node, key, value)
        node = found
    if node is None:
        raise ConfigError("the file is empty.")
    begin, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:  # a block ends where the next key begins
        lines = text[begin:end].splitlines()
        while not lines[-1].strip() or lines[-1].lstrip().startswith("#"):
            lines.pop()
        end = begin + len("\n".join(lines))
    return f"{text[:begin]}{flow(value)}{text[end:]}"


def put_in(text: str, mapping: yaml.MappingNode, key: str, value: Any) -> str:
    entry = f"{flow(key)}: {flow(value)}"
    if mapping.flow_style:
        end = mapping.end_mark.index - 1  # before the brace
        return f"{text[:end].rstrip()}{', ' if mapping.value else ''}{entry}{text[end:]}"
    first = mapping.value[0][0].start_mark
    return f"{text[: first.index]}{entry}\n{' ' * first.column}{text[first.index :]}"


def flow(value: Any) -> str:
    """A value on one line; plain words without quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{flow(name)}: {flow(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return as_yaml_float(value)
    if isinstance(value, str):
        is_plain = value.replace("_", "").isalnum() and value.isascii() and yaml.safe_load(value) == value
        return value if is_plain else yaml.safe_dump(value, default_style='"', width=math.inf).strip()
    return json.dumps(value)


def as_yaml_float(value: float) -> str:
    """Shortest text that gives the same float back; YAML wants a point before an exponent."""
    text = repr(value)
    mantissa, exponent, power = text.partition("e")
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text


def write_whole(path: Path, text: str) -> None:
    """A reader sees the file before or after, never a part."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
