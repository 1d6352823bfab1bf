"""What `pipeline models`, `pipeline model show` and `pipeline verify` print. Loads TensorFlow only where a model has to be built."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from pipeline import model_arguments, storage
from pipeline.config import Recipe
from pipeline.config_errors import suggestion
from pipeline.errors import ConfigError, DataError
from pipeline.paths import MANIFEST
from pipeline.schema import Prepared
from pipeline.stage import Request, upstream

if TYPE_CHECKING:
    from pipeline.train.verify import Verified


def print_models(console: Console) -> None:
    """Every model with what it does, what data it takes and what a recipe may set; read from the sources, nothing is imported."""
    for name in model_arguments.available():
        path = model_arguments.source_path(name)
        signature = model_arguments.signature(path) if path else None
        if path is None or signature is None:
            continue
        summary = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        inputs = [fact for fact in (*signature.given, *signature.wanted) if fact in model_arguments.INPUTS]
        console.print(f"[bold]{name}[/bold]  {summary}", highlight=False)
        console.print(f"  takes    {' or '.join(inputs) if signature.wanted else ', '.join(inputs)}", highlight=False)
        options = (f"{option}={default}" if default is not None else option for option, (_, default) in signature.options.items())
        console.print(f"  options  {', '.join(options)}", highlight=False, markup=False)


def compare_ranks(request: Request, ranks: int, epochs: int) -> None:
    """Compare a training on one rank with one on several, on this recipe's prepared data, and print the differences.

    Raises:
        DataError: there is no intact prepared data, or the two differ by more than float32 sums in another order.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its notes on this machine's processor are no result
    from pipeline.train import verify

    found = verify.verify(request.recipe, upstream(request, "prepare"), ranks, epochs, request.console.line)
    print_verified(request.console.rich, found)
    if not found.holds:
        raise DataError(
            f"{ranks} ranks did not give what one gives: see the lines that say `differs`. Expected relative differences up to "
            f"{verify.TOLERANCE:g}. Look for layers that draw random numbers, or that see other rows of the batch by other means than "
            "batch normalisation."
        )


def show_model(request: Request, given: Sequence[str]) -> None:
    """Print what the recipe's model costs, of its prepared data or of facts that the user gives. Raises ConfigError, DataError."""
    facts = read_facts(given)
    is_prepared = storage.exists(request.run.published("prepare") / MANIFEST)
    prepared = Prepared.model_validate(upstream(request, "prepare").manifest.facts) if is_prepared else None
    print_model(request.console.rich, request.recipe, prepared, facts)


def read_facts(texts: Sequence[str]) -> dict[str, Any]:
    """`name=value` texts of a command line. Raises ConfigError for what is no fact or no number, list or text."""
    paths = [path for name in model_arguments.available() if (path := model_arguments.source_path(name))]
    builders = [build for path in paths if (build := model_arguments.signature(path))]
    known = sorted({fact for build in builders for fact in (*build.given, *build.wanted)})
    found = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError(f"--fact {text}: expected NAME=VALUE, for example num_outputs=10.")
        if name not in known:
            raise ConfigError(f"--fact {name}: expected one of {', '.join(known)}{suggestion(name, known)}")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            raise ConfigError(f"--fact {text}: expected a number or a list such as [28,28,1], received {value!r}.") from None
    return found


def print_model(console: Console, recipe: Recipe, facts: Prepared | None, given: Mapping[str, Any]) -> None:
    """Layers, parameters, arithmetic and memory of a recipe's model. Raises ConfigError."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from pipeline.train import model_figures

    figures = model_figures.measure(model_figures.build(recipe, facts, given), recipe)
    table = Table("layer", "kind", "output", "parameters", "FLOPs a row", title=f"model {recipe.model.name}", title_justify="left")
    for layer in figures.layers:
        shape = "x".join(str(size) for size in layer.shape)
        table.add_row(
            layer.name, layer.kind, shape, f"{layer.parameters:,}" if layer.parameters else "", f"{layer.flops:,}" if layer.flops else ""
        )
    console.print(table)
    settings = recipe.train
    rows = -(-settings.global_batch // settings.ranks)
    console.print(f"parameters   {figures.parameters:,}, {figures.trainable:,} of them trained", highlight=False)
    console.print(
        f"arithmetic   {figures.flops:,} FLOPs a row forward, about {3 * figures.flops * settings.global_batch:,} a step", highlight=False
    )
    parts = (("weights", figures.weight_bytes), ("gradients", figures.gradient_bytes), ("optimizer", figures.optimizer_bytes))
    listed = ", ".join(f"{name} {mega(size)}" for name, size in (*parts, ("layers' outputs", figures.activation_bytes)))
    console.print(f"memory       {mega(figures.memory_bytes)} on a rank of {rows} rows: {listed}", highlight=False)


def print_verified(console: Console, verified: Verified) -> None:
    """Every difference, largest first, and what they come to."""
    table = Table("what", "shape", "largest difference", "relative", "", title=f"{verified.ranks} ranks against 1", title_justify="left")
    for found in sorted((*verified.weights, *verified.metrics), key=lambda each: each.relative, reverse=True):
        shape = "x".join(map(str, found.shape))
        table.add_row(found.name, shape, f"{found.largest:.2e}", f"{found.relative:.2e}", "" if found.holds else "differs")
    console.print(table)
    if verified.random_layers:
        console.print(f"draw random numbers, so ranks differ by them: {', '.join(verified.random_layers)}", highlight=False)


def mega(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
