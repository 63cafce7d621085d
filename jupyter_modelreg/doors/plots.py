"""Histograms: a reference in grey, what came since in colour. Nothing is loaded, no script runs.

A table's are small and made of boxes, since JupyterLab takes SVG out of a notebook that it does not trust yet; a plot's are SVG.
Each colour is given twice, the theme's last, so that light and dark themes both work.
"""

from __future__ import annotations

from html import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..entities.answers import ColumnDrift, DriftReport, Histogram

SMALL_HEIGHT = 30
LARGE = (360, 110)
MAX_PLOTS = 60
_REFERENCE = 'fill="currentColor" fill-opacity="0.25"'
_LIVE = 'fill="#1976d2" style="fill:var(--jp-brand-color1,#1976d2)"'
_BOX = "background:#1976d2;background:var(--jp-brand-color1,#1976d2)"
_KEY = "display:inline-block;width:10px;height:10px;margin:0 4px 0 12px;vertical-align:-1px"


class DriftPlot:
    """The histograms of a drift report, one below the other; a notebook shows them."""

    def __init__(self, report: DriftReport, columns: list[str] | None = None) -> None:
        self._report = report
        self._columns = [item for item in report.columns if item.histogram and (columns is None or item.column in columns)]

    def __repr__(self) -> str:
        return f"DriftPlot of {', '.join(item.column for item in self._columns[:MAX_PLOTS])}"

    def _repr_html_(self) -> str:
        report = self._report
        keys = (
            f'<span style="{_KEY};background:currentColor;opacity:.25"></span>training, {report.reference_rows:,} rows'
            f'<span style="{_KEY};{_BOX}"></span>live, {report.live_rows:,} rows'
        )
        head = f"<div><b>{escape(report.endpoint)}/{escape(report.deployment)}</b> {escape(report.collection)}{keys}</div>"
        left = len(self._columns) - MAX_PLOTS
        more = f"<div>{left:,} more columns are not shown; name them.</div>" if left > 0 else ""
        boxes = "".join(_box(item) for item in self._columns[:MAX_PLOTS])
        return f'<div class="modelreg" style="line-height:1.5">{head}<div style="display:flex;flex-wrap:wrap;gap:18px">{boxes}</div>{more}</div>'

    def save(self, path: str) -> None:
        """Write them as a page of its own.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        style = ":root{color-scheme:light dark}body{font:14px system-ui,sans-serif;margin:24px}"
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(f'<!doctype html><meta charset="utf-8"><title>Drift</title><style>{style}</style>{self._repr_html_()}\n')


def _box(column: ColumnDrift) -> str:
    assert column.histogram
    verdict = f'<span style="opacity:.65">{escape(column.verdict)}</span>'
    picture = histogram_svg(column.histogram, column.column)
    return f"<div><div>{escape(column.column[:60])} {verdict}</div>{picture}{_scale(column.histogram.labels, column.kind)}</div>"


def _scale(labels: list[str], kind: str) -> str:
    """Return the ends of the numbers, or each category below its bars."""
    if kind == "numerical":
        texts, style = [labels[0].partition(" to ")[0], labels[-1].rpartition(" to ")[2]], ""
    else:
        texts, style = labels, ' style="flex:1 1 0;min-width:0;text-align:center;overflow:hidden;text-overflow:ellipsis"'
    spans = "".join(f"<span{style}>{escape(text)}</span>" for text in texts)
    return f'<div style="display:flex;justify-content:space-between;width:{LARGE[0]}px;opacity:.65;font-size:85%">{spans}</div>'


def histogram_boxes(histogram: Histogram) -> str:
    """Return both samples as pairs of small boxes of a common scale, for a table."""
    top = _top(histogram)
    width = 3 if len(histogram.labels) > 12 else 6
    sides = ((histogram.reference, "background:rgba(128,128,128,.5)"), (histogram.live, _BOX))
    bars = "".join(
        f'<div style="{paint};width:{width}px;height:{max(1, round(side[at] / top * SMALL_HEIGHT)) if side[at] > 0 else 0}px"></div>'
        for at in range(len(histogram.labels))
        for side, paint in sides
    )
    line = f"display:inline-flex;align-items:flex-end;height:{SMALL_HEIGHT}px;border-bottom:1px solid rgba(128,128,128,.5)"
    return f'<div style="{line}">{bars}</div>'


def histogram_svg(histogram: Histogram, name: str) -> str:
    """Return both samples as bars of a common scale; a bar's shares are told when the mouse rests on it."""
    (width, height), top = LARGE, _top(histogram)
    step = width / max(1, len(histogram.labels))
    bars = [
        f"<g><title>{escape(label)}: {known:.1%} of training, {seen:.1%} of live</title>"
        f"{_bar(at * step + 0.5, step - 1, known / top, height, _REFERENCE)}"
        f"{_bar(at * step + step / 4, step / 2, seen / top, height, _LIVE)}</g>"
        for at, (label, known, seen) in enumerate(zip(histogram.labels, histogram.reference, histogram.live, strict=True))
    ]
    base = f'<line x1="0" y1="{height - 0.5}" x2="{width}" y2="{height - 0.5}" stroke="currentColor" stroke-opacity="0.35"/>'
    said = escape(f"{name}: training and live")
    open_tag = (
        f'<svg role="img" aria-label="{said}" width="{width}" height="{height}" viewBox="0 0 {width} {height}" style="display:block">'
    )
    return f"{open_tag}{''.join(bars)}{base}</svg>"


def _bar(x: float, width: float, share: float, height: int, paint: str) -> str:
    tall = max(1.0, share * (height - 1)) if share > 0 else 0.0
    return f'<rect x="{x:.1f}" y="{height - 1 - tall:.1f}" width="{width:.1f}" height="{tall:.1f}" {paint}/>' if tall else ""


def histogram_texts(histogram: Histogram | None) -> list[str]:
    """Return both samples as rows of blocks of a common scale, for a terminal; empty where there is nothing to draw."""
    if histogram is None:
        return ["", ""]
    top = _top(histogram)
    return ["".join(_block(share / top) for share in side) for side in (histogram.reference, histogram.live)]


def _top(histogram: Histogram) -> float:
    return max([*histogram.reference, *histogram.live, 1e-9])


def _block(share: float) -> str:
    return "▁▂▃▄▅▆▇█"[min(7, int(share * 8))] if share > 0 else " "


def drift_plot(report: Any, columns: list[str] | None = None) -> DriftPlot:
    """Return the histograms of a report; also of what a magic returned."""
    return DriftPlot(getattr(report, "answer", report), columns)
