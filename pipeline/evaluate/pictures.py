"""Images inside a page."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

THUMBNAIL_PIXELS = 160


def data_uri(pixels: NDArray[Any]) -> str:
    """A PNG of an image (H, W, 1 or 3), inside a URI; what lies beyond 0 to 255 is cut off."""
    whole = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    image = Image.fromarray(whole.squeeze(axis=2) if whole.shape[2] == 1 else whole)
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
