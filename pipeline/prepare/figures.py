"""The report's histograms as SVG text: half a kilobyte each, so that a page of hundreds of columns stays light."""

from __future__ import annotations

from markupsafe import Markup

from pipeline.schema import Histogram

SVG = Markup(
    '<svg class="histogram" viewBox="0 0 {width} {height}" width="{width}" height="{height}" preserveAspectRatio="none" role="img">'
    '<title>{title}</title><path d="{path}"/></svg>'
)


def histogram(found: Histogram, title: str, *, width: int = 240, height: int = 48) -> Markup:
    """One bar a bin, the highest as high as the figure; a bin with a single row still shows."""
    highest, step, gap = max(found.counts, default=0), width / max(len(found.counts), 1), 1.0
    bars = []
    for index, count in enumerate(found.counts):
        if count:
            tall = max(1.0, height * count / highest)
            bars.append(f"M{index * step:.1f} {height}v-{tall:.1f}h{step - gap:.1f}v{tall:.1f}z")
    return SVG.format(width=width, height=height, title=title, path="".join(bars))
