"""What a model file's `build` takes, read from its source: nothing is imported, so TensorFlow is not either."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import user_code
from pipeline.config_errors import suggestion

# Facts that say what a row is; a builder that takes several of them as optional needs one.
INPUTS = frozenset({"num_features", "image_shape", "num_samples", "vocabulary_size", "sequence_shape", "num_users"})
# Models whose outputs are no answer about a label go with one task alone, and it with no others but a user's own.
MODELS_OF = {"autoencoder": ("autoencoder", "vae"), "gan": ("dcgan", "wgan_gp")}
CHECKS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True)
class Signature:
    """What `build` takes, by name."""

    given: tuple[str, ...]  # filled in by the pipeline
    wanted: tuple[str, ...]  # filled in where the data has them
    options: dict[str, tuple[str, str | None]]  # what a recipe may set: annotation and default as written

    @property
    def choice(self) -> tuple[str, ...]:
        """Inputs of which it takes whichever the data has; none where one is always needed."""
        return () if set(self.given) & INPUTS else tuple(name for name in self.wanted if name in INPUTS)

    def facts(self, known: Mapping[str, Any]) -> dict[str, Any]:
        """What to call `build` with. Raises KeyError for a fact that is needed and not known."""
        return {name: known[name] for name in self.given} | {name: known[name] for name in self.wanted if name in known}


def source_path(name: str, folder: Path | None = None) -> Path | None:
    """The file of a model, or None if there is none of that name. `module:function` is looked for in `folder`, the recipe's, first."""
    if ":" in name:
        return user_code.locate(name.partition(":")[0], folder or Path.cwd())
    package = importlib.util.find_spec("models")
    folders = package.submodule_search_locations if package else None
    path = Path(next(iter(folders))) / f"{name}.py" if folders else None
    return path if path is not None and path.is_file() else None


def available() -> list[str]:
    package = importlib.util.find_spec("models")
    folders = package.submodule_search_locations if package else None
    return sorted(path.stem for path in Path(next(iter(folders or []))).glob("*.py") if path.stem != "__init__")


def models_for(task: str) -> list[str]:
    """Those of ours that go with a task."""
    alone = [name for names in MODELS_OF.values() for name in names]
    return list(MODELS_OF.get(task, [name for name in available() if name not in alone]))


def builder_name(name: str) -> str:
    """The function that builds: `build` of ours, what follows the colon of a user's."""
    return name.partition(":")[2] or "build"


def signature(path: Path, function: str = "build") -> Signature | None:
    """The signature of a builder in a file; None if it has no such function. Raises SyntaxError."""
    functions = (node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef) and node.name == function)
    build = next(functions, None)
    if build is None:
        return None
    known = aliases()
    options = {
        argument.arg: (annotation_of(argument, known), ast.unparse(default) if default else None)
        for argument, default in zip(build.args.kwonlyargs, build.args.kw_defaults, strict=True)
    }
    names = tuple(argument.arg for argument in build.args.args)
    num_given = len(names) - len(build.args.defaults)
    return Signature(names[:num_given], names[num_given:], options)


def aliases() -> dict[str, str]:
    """Names that models/__init__.py gives to lists of choices -> the choices, as written."""
    package = importlib.util.find_spec("models")
    tree = ast.parse(Path(package.origin).read_text()) if package and package.origin else ast.Module([], [])
    named = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {node.targets[0].id: ast.unparse(node.value) for node in named if isinstance(node.targets[0], ast.Name)}


def annotation_of(argument: ast.arg, known: Mapping[str, str]) -> str:
    written = ast.unparse(argument.annotation) if argument.annotation else "Any"
    return known.get(written, written)


def problems(
    name: str, arguments: Mapping[str, Any], given: set[str], folder: Path | None = None, task: str = "classification"
) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong with a recipe's model section: (key below `model`, message).

    Args:
        name: the model's file name without `.py`, or `module:function` of the user's.
        arguments: what the recipe sets besides the name.
        given: the facts that the pipeline can fill in for this recipe's data.
        folder: the recipe's.
        task: the recipe's.
    """
    path, function = source_path(name, folder), builder_name(name)
    if path is None and ":" in name:
        module = name.partition(":")[0]
        return [(("name",), f"there is no module {module} in the recipe's folder ({folder}) or among installed packages")]
    if path is None:
        return [(("name",), f"there is no models/{name}.py. Expected one of: {', '.join(available())}{suggestion(name, available())}")]
    try:
        build = signature(path, function)
    except SyntaxError as error:
        return [(("name",), f"{path.name} line {error.lineno} is not valid Python: {error.msg}")]
    if build is None:
        return [(("name",), f"{path.name} has no function {function}(...). See the table in models/__init__.py")]
    if ":" not in name and name not in (fits := models_for(task)):
        return [(("name",), f"model {name} is not for task: {task}. Expected one of: {', '.join(fits)}, or module:function of your own")]
    missing = [parameter for parameter in build.given if parameter not in given]
    if not missing and build.choice and not set(build.choice) & given:
        missing = [f"one of {' or '.join(build.choice)}"]
    if missing:
        gives = f"which this recipe's columns do not give (they give {', '.join(sorted(given))})"
        return [(("name",), f"model {name} needs {', '.join(missing)}, {gives}")]
    return _argument_problems(name, build, arguments)


def _argument_problems(name: str, build: Signature, arguments: Mapping[str, Any]) -> list[tuple[tuple[str, ...], str]]:
    found: list[tuple[tuple[str, ...], str]] = []
    for key, value in arguments.items():
        if key not in build.options:
            expected = f"Expected: {', '.join(build.options)}{suggestion(key, build.options)}"
            found.append(((key,), f"model {name} has no argument {key!r}. {expected}"))
        elif not _fits(value, build.options[key][0]):
            found.append(((key,), f"model.{key}: expected {build.options[key][0]}, received {value!r}"))
    required = [key for key, (_, default) in build.options.items() if default is None and key not in arguments]
    return found + [((), f"model {name} needs the argument {key!r}") for key in required]


def _fits(value: Any, annotation: str) -> bool:
    if annotation.startswith("Literal["):
        return value in literal_values(annotation)
    expected = CHECKS.get(annotation)
    if expected is None:
        return True  # a richer annotation is checked by the builder itself
    return isinstance(value, expected) and (bool in expected or not isinstance(value, bool))


def literal_values(annotation: str) -> tuple[Any, ...]:
    """What `Literal['a', 'b']` allows."""
    values = ast.literal_eval(annotation.removeprefix("Literal[").removesuffix("]"))
    return values if isinstance(values, tuple) else (values,)
