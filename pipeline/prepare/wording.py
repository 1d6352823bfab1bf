"""What numbers, scalers, encoders, splits and leak checks are in words."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.config import Recipe
from pipeline.schema import CategoryEncoder, Leak, NumberScaler
from pipeline.sections.augment import AugmentOperation
from pipeline.summary import rounded

NEAR_LIMIT = 0.5  # of a leak check's limit
NO_BREAK = "\u00a0"
TEXT_CHARACTERS = 60  # of a value
LEAKS = {
    "key": "the key of a train row",
    "content": "the same features as a train row",
    "near_duplicates": "the same features as a train row, to {digits} significant digits",
    "group": "the same {group} as a train row",
    "future": "a time before a train row's",
}
SCALERS = {
    "none": "x",
    "log": "(sign(x) ln(1 + |x|) − {offset}) / {scale}",
    "yeo_johnson": "(y − {offset}) / {scale}, y the Yeo–Johnson transform of x with power {power}",
    "quantile": "share of train rows below x, on lines between {knots:,} knots",
}


def percent(share: float) -> str:
    """`12.3 %` in one piece; what is not nothing, or not all, never looks as if it were."""
    if 0 < share < 1e-6:
        return f"under 0.0001{NO_BREAK}%"
    if 0.9995 <= share < 1:
        return f"over 99.9{NO_BREAK}%"
    return f"{100 * share:.3g}{NO_BREAK}%"


def figure(value: float) -> str:
    """Four significant digits, without zeros at the end: `45,123`, `0.5`, `1.235e+20`."""
    text = rounded(value)
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def moment(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"
    except (OverflowError, ValueError, OSError):  # beyond year 9999
        return figure(seconds)


def short(text: str) -> str:
    return cut(text, TEXT_CHARACTERS)


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}…"


OPERATIONS = {  # of images and sounds
    "rotate": "turned by up to {degrees}°",
    "translate": "moved by up to {pixels} pixels",
    "flip_horizontal": "mirrored left to right with probability {share}",
    "flip_vertical": "mirrored top to bottom with probability {share}",
    "zoom": "zoomed by up to a factor of 1 + {max}",
    "shear": "sheared by up to {degrees}°",
    "crop": "cropped to {min_share} of each side or more",
    "brightness": "brightness changed by up to {max} of it",
    "contrast": "contrast changed by up to {max} of it",
    "pixel_noise": "normal noise of {std} steps",
    "blur": "blurred by up to {radius} pixels",
    "cutout": "a square of {share} of the side cut out",
    "time_shift": "shifted by up to {max_share} of the length",
    "gain": "louder or softer by up to {db} dB",
    "noise": "white noise at {min_snr_db} to {max_snr_db} dB",
    "speed": "speed changed by up to {max} of it",
    "time_mask": "up to {max_share} of the time silenced",
    "band_mask": "up to {max_share} of the frequencies taken out",
}


def split_text(recipe: Recipe) -> str:
    split = recipe.split
    match split.by:
        case "group":
            return f"Split by a hash of {split.column}: all rows of one value are in one split."
        case "stratified":
            return f"Split by a hash of the row's key among the rows with the same {split.column or recipe.label}."
        case "time":
            gap = f"; rows within {split.gap_s:g} s before either go to neither side" if split.gap_s else ""
            return f"Split by {split.column}: validation from {split.validation_from}, test from {split.test_from}{gap}."
        case "user_time":
            held = recipe.interactions
            last = f"the last {held.test_last} for test, the {held.validation_last} before for validation" if held else ""
            return f"Split by each user's own time: {last}."
        case "kfold":
            return f"Split by a hash of the row's key into {split.folds} folds: fold {split.fold} is the test, the next one validation."
    return "Split by a hash of the row's key (of its content, where it has no key): a row keeps its split, whatever else arrives."


def sample_id_text(recipe: Recipe) -> str:
    if recipe.source.format == "idx":
        return "the file's path below the source and the image's number in it"
    if recipe.source.is_of_files:
        return "the file's path below the source"
    keys = recipe.names("category", "key")
    return f"{keys[0] if keys else 'a hash of the content'}; of rows that share it, all but the first end in ~2, ~3 and so on"


def leak_text(leak: Leak, recipe: Recipe) -> str:
    """What the rows have that it found; the check's name if there are no words for it."""
    group = recipe.audit.group or recipe.split.column
    if recipe.names("image") and leak.check == "near_duplicates":
        return f"a look like a train row's, {recipe.audit.near_distance} of 64 bits apart at most"
    return LEAKS.get(leak.check, leak.check).format(digits=recipe.audit.near_digits, group=group)


def verdict(leak: Leak) -> str:
    if not leak.holds:
        return "over the limit"
    return "near the limit" if is_near(leak) else "holds" if leak.rows else "none found"


def is_near(leak: Leak) -> bool:
    return leak.holds and leak.rows > 0 and leak.share > NEAR_LIMIT * leak.limit


def scaler_text(scaler: NumberScaler) -> str:
    """The formula with its numbers."""
    numbers = {"offset": figure(scaler.offset), "scale": figure(scaler.scale), "knots": len(scaler.knots)}
    formula = SCALERS.get(scaler.method, "(x − {offset}) / {scale}")
    return formula.format(**numbers, power=figure(1.0 if scaler.power is None else scaler.power)).replace("− -", "+ ")


def encoder_text(encoder: CategoryEncoder) -> str:
    """What values become, and where those go that no train row had."""
    num = len(encoder.values)
    match encoder.method:
        case "one_hot":
            return f"{num:,} values and one position, the last, for the rest and missing ones"
        case "ordinal":
            return f"index among {num:,} sorted values; the rest and missing ones are {num:,}"
        case "vocabulary":
            return f"rank among {num:,} values, the most frequent is 1; the rest and missing ones are 0"
        case "hash":
            return f"one of {encoder.buckets:,} buckets by a hash; unseen values too, missing ones like an empty text"
    rest = ", ".join(figure(value) for value in encoder.means[-1])
    return f"smoothed mean of the label for {num:,} values, of train rows from other folds ({len(encoder.fold_means)}); the rest is {rest}"


def operation_text(operation: AugmentOperation) -> str:
    """What an operation of `augment` does, with its numbers; its name and settings if there are no words for it."""
    values = {name: figure(value) for name, value in operation.arguments.model_dump().items() if isinstance(value, int | float)}
    known = OPERATIONS.get(operation.name)
    return known.format(**values) if known else f"{operation.name} ({', '.join(f'{name} {value}' for name, value in values.items())})"


def positions(first: int, width: int) -> str:
    return f"position {first:,}" if width == 1 else f"positions {first:,} to {first + width - 1:,}"
