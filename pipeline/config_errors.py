"""Pydantic's findings -> lines that a person can act on: place, what was received, what was expected, the nearest known key."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.recipe_file import Document, Location

KINDS = {dict: "mapping", list: "list", str: "text", bool: "true/false", int: "whole number", float: "number"}


def explain(error: ValidationError, model: type[BaseModel], document: Document) -> str:
    """One line for each finding, in the order of the file's sections."""
    return "\n".join(dict.fromkeys(_line(detail, model, document) for detail in error.errors(include_url=False)))


def suggestion(name: str, known: Iterable[str]) -> str:
    """`. Did you mean 'epochs'?`, or nothing where no known name is near."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean {nearest[0]!r}?" if nearest else ""


def _line(detail: ErrorDetails, model: type[BaseModel], document: Document) -> str:
    location = detail["loc"]
    place, key = document.place(location), ".".join(map(str, location))
    match detail["type"]:
        case "extra_forbidden":
            known, unknown = known_keys(model, location[:-1]), str(location[-1])
            where = ".".join(map(str, location[:-1])) or "the recipe"
            return f"{place}: unknown key {unknown!r} in {where}. Expected one of: {', '.join(known)}{suggestion(unknown, known)}"
        case "missing":
            return f"{place}: {key} is missing. Every recipe must say it; `pipeline config schema` shows what it holds."
        case "value_error":
            return f"{place}: {key}: {detail['ctx']['error']}. Received {_show(detail['input'])}."
    message = detail["msg"].removeprefix("Input should be ").replace("an object", "a mapping")
    return f"{place}: {key}: expected {message}, received {_show(detail['input'])}."


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"{text if len(text) <= 80 else text[:77] + '…'} ({KINDS.get(type(value), 'nothing')})"


def known_keys(model: type[BaseModel], location: Location) -> list[str]:
    """Keys that the section at `location` takes; empty where any key goes."""
    annotation: Any = model
    for part in location:
        annotation = _step(annotation, part)
    section = _section(annotation)
    return [] if section is None else [field.alias or name for name, field in section.model_fields.items()]


def _step(annotation: Any, part: str | int) -> Any:
    section = _section(annotation)
    if section is not None:
        fields = {field.alias or name: field.annotation for name, field in section.model_fields.items()}
        return fields.get(str(part))
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is dict:
        return arguments[1]
    return next((argument for argument in arguments if argument is not types.NoneType), None)


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next((found for argument in typing.get_args(annotation) if (found := _section(argument))), None)
    return None
