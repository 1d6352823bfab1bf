"""What prepared data takes from the training that it is for to start from: scalers, encoders, image statistics, the vocabulary.

Where the recipe names the same method for a column, the origin's values take the place of those that were fitted here: a model whose
first layers stay as they were must see numbers that mean what they meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pipeline.config import Recipe
from pipeline.origin import Origin, refuse_other_inputs
from pipeline.prepare.encode import feature_names, time_names
from pipeline.prepare.fit import features_tensor, train_parts
from pipeline.prepare.kinds.base import ContentFit
from pipeline.prepare.kinds.texts import SAMPLE_ROWS, VOCABULARY_FILE, describe, options_of, train_texts
from pipeline.prepare.pack import Packing
from pipeline.prepare.tally import Tally
from pipeline.prepare.windows.fit import channel_names
from pipeline.prepare.windows.prepared import WindowPacking
from pipeline.prepare.write import AnyPacking
from pipeline.schema import CategoryEncoder, NumberScaler, Prepared, Tensor, Vocabulary

Fitted = TypeVar("Fitted", NumberScaler, CategoryEncoder)
Facts = dict[str, Any]


def take_along(packing: AnyPacking, facts: Facts, origin: Origin, recipe: Recipe, tally: Tally, work: Path) -> tuple[AnyPacking, Facts]:
    """The packing and its facts with what the origin had.

    Raises:
        DataError: inputs would still mean something else than the origin's did; with every difference.
    """
    theirs = origin.facts
    if isinstance(packing, WindowPacking):
        packing, facts = take_windows(packing, facts, theirs)
    elif isinstance(packing, Packing) and packing.content is not None:
        content = take_content(packing.content, origin, recipe, tally, work)
        packing = replace(packing, tensor=content.tensor, content=content)
        facts = {**facts, "tensor": content.tensor, **content.facts}
    elif isinstance(packing, Packing):
        packing, facts = take_columns(packing, facts, theirs)
    refuse_other_inputs(theirs, Prepared.model_construct(**facts))
    return packing, facts


def take_columns(packing: Packing, facts: Facts, theirs: Prepared) -> tuple[Packing, Facts]:
    target = packing.target
    if target is not None and theirs.target is not None:
        target = matching(target, {theirs.target.column: theirs.target})
    scalers, encoders = take_fitted(packing.scalers, packing.encoders, theirs.scalers, theirs)
    tensor = features_tensor(scalers, [*encoders, *packing.times])
    names = [scaler.column for scaler in scalers] + [name for found in encoders for name in feature_names(found)]
    names += [name for found in packing.times for name in time_names(found)]
    taken = {"tensor": tensor, "target": target, "scalers": scalers, "encoders": encoders, "features": tuple(names)}
    return replace(packing, tensor=tensor, target=target, scalers=scalers, encoders=encoders), {**facts, **taken}


def take_windows(packing: WindowPacking, facts: Facts, theirs: Prepared) -> tuple[WindowPacking, Facts]:
    targets = theirs.windows.targets if theirs.windows else ()
    channels = packing.channels
    scalers, encoders = take_fitted(channels.scalers, channels.encoders, (*targets, *theirs.scalers), theirs)
    channels = replace(channels, scalers=scalers, encoders=encoders)
    count = len(facts["windows"].targets)
    taken = {"tensor": channels.tensor, "target": scalers[0], "scalers": scalers[count:], "encoders": encoders}
    windows = facts["windows"].model_copy(update={"targets": scalers[:count]})
    return replace(packing, channels=channels), {**facts, **taken, "windows": windows, "features": tuple(channel_names(channels))}


def take_fitted(
    scalers: Iterable[NumberScaler], encoders: Iterable[CategoryEncoder], their_scalers: Iterable[NumberScaler], theirs: Prepared
) -> tuple[tuple[NumberScaler, ...], tuple[CategoryEncoder, ...]]:
    known_scalers = {found.column: found for found in their_scalers}
    known_encoders = {found.column: found for found in theirs.encoders}
    found = tuple(for_all_rows(matching(encoder, known_encoders)) for encoder in encoders)
    return tuple(matching(scaler, known_scalers) for scaler in scalers), found


def matching(fitted: Fitted, known: Mapping[str, Fitted]) -> Fitted:
    """The origin's of the same column and method; else the one that was fitted here, which `origin.differences` will find."""
    theirs = known.get(fitted.column)
    return theirs if theirs is not None and theirs.method == fitted.method else fitted


def for_all_rows(encoder: CategoryEncoder) -> CategoryEncoder:
    """A target encoder that was fitted on other rows has nothing of a train row's own label in it: no fold is left out."""
    return encoder.model_copy(update={"fold_means": (encoder.means,) * len(encoder.fold_means)}) if encoder.fold_means else encoder


def take_content(content: ContentFit, origin: Origin, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
    theirs = origin.facts
    if theirs.vocabulary is not None and "vocabulary" in content.facts:
        return take_vocabulary(content, origin, theirs.vocabulary, recipe, tally, work)
    return replace(content, tensor=take_statistics(content.tensor, theirs.tensor))


def take_statistics(tensor: Tensor, theirs: Tensor) -> Tensor:
    """The first layer's mean and deviation of pixels or samples, of tensors of one type with as many channels."""
    is_alike = (tensor.dtype, len(tensor.mean or ())) == (theirs.dtype, len(theirs.mean or ()))
    return tensor.model_copy(update={"mean": theirs.mean, "std": theirs.std}) if is_alike else tensor


def take_vocabulary(content: ContentFit, origin: Origin, theirs: Vocabulary, recipe: Recipe, tally: Tally, work: Path) -> ContentFit:
    """The origin's tokens; what they do to texts is counted here."""
    text, name = origin.text_of(theirs.file), recipe.content or ""
    tokens = options_of(recipe.columns[name]).tokens
    if (theirs.method, theirs.max_tokens) != (tokens.method, tokens.max_tokens):
        return content
    sample = list(islice(train_texts(work, train_parts(tally), name, tokens.sample_mb << 20), SAMPLE_ROWS))
    counted = {**describe(sample, text, theirs.max_tokens), "sample_rows": len(sample), "column": name, "file": VOCABULARY_FILE}
    vocabulary = theirs.model_copy(update=counted)
    return replace(content, facts={**content.facts, "vocabulary": vocabulary}, files={VOCABULARY_FILE: text})
