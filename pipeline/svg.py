"""How the figures of report pages look, and their text for a page. No pyplot: no display, no global state, the same bytes each time."""

from __future__ import annotations

import io
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

TRAIN, VALIDATION, MUTED = "#8a94a6", "#1f5fbf", "#9aa1ab"
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "longhaul",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.edgecolor": "#c5cad3",
    "axes.labelcolor": "#4a5160",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": "#4a5160",
    "ytick.color": "#4a5160",
    "legend.frameon": False,
}


def as_svg(figure: Figure, title: str) -> Markup:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    svg = text.getvalue()
    return Markup(svg[svg.index("<svg") :])  # safe: drawn here; text is glyphs, not markup
