"""Answers as HTML for notebooks: self-contained, in JupyterLab's colours where it is, readable everywhere else.

Every value is escaped; nothing a model says of itself becomes markup.
"""

from __future__ import annotations

from html import escape
from typing import Any

from ..records import Record
from .display import COLUMNS, cell_text, size_text, to_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ROWS = 200

_STYLE = """<style>
.modelreg{--mr-border:var(--jp-border-color2,#8883);--mr-dim:var(--jp-ui-font-color2,#767676);--mr-brand:var(--jp-brand-color1,#1976d2);
--mr-ok:var(--jp-success-color1,#388e3c);--mr-bad:var(--jp-error-color1,#d32f2f);--mr-wait:var(--jp-warn-color1,#f57c00);
--mr-soft:var(--jp-layout-color2,#8881);font-family:var(--jp-ui-font-family,system-ui,sans-serif);font-size:var(--jp-ui-font-size1,13px);
color:var(--jp-ui-font-color1,inherit);line-height:1.5;max-width:980px}
.modelreg table{border-collapse:collapse;margin:0;border:none;font-size:inherit}
.modelreg th,.modelreg td{text-align:left!important;padding:3px 14px 3px 0!important;border:none!important;vertical-align:top;background:none!important;white-space:normal!important;overflow-wrap:anywhere}
.modelreg thead th{color:var(--mr-dim);font-weight:500;border-bottom:1px solid var(--mr-border)!important}
.modelreg td.n{text-align:right!important;font-variant-numeric:tabular-nums;white-space:nowrap!important}
.modelreg .t{font-size:1.15em;font-weight:600}.modelreg .d{color:var(--mr-dim)}
.modelreg .c{display:inline-block;background:var(--mr-soft);border-radius:9px;padding:0 8px;margin:0 4px 2px 0}
.modelreg .b{display:inline-block;border-radius:9px;padding:0 8px;border:1px solid currentColor;font-size:.92em}
.modelreg .ok{color:var(--mr-ok)}.modelreg .bad{color:var(--mr-bad)}.modelreg .wait{color:var(--mr-wait)}
.modelreg h4{margin:10px 0 2px;font-size:1em;font-weight:600}.modelreg code,.modelreg pre{font-family:var(--jp-code-font-family,monospace);font-size:.95em;background:none;padding:0}
.modelreg pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:4px 0;max-height:320px;overflow:auto}
.modelreg summary{cursor:pointer;color:var(--mr-dim)}
.modelreg .bar{display:inline-block;height:8px;border-radius:2px;background:var(--mr-brand);vertical-align:middle;min-width:1px}.modelreg .bar.o{opacity:.4}
</style>"""

_GOOD = {"healthy", "data-only", "known-pickle"}
_WAITING = {"starting", "unknown-names", "not-inspected", "empty"}


def to_html(answer: Any, *, empty: str = "") -> str:
    """Return an answer as one HTML fragment."""
    if isinstance(answer, list):
        body = _list(answer) if answer else f'<p class="d">{escape(empty)}</p>'
    else:
        body = _PAGES.get(type(answer).__name__, _plain)(answer)
    return f'{_STYLE}<div class="modelreg">{body}</div>'


def registered_html(model: Any) -> str:
    """Return the card that a cell shows after it registered a model."""
    name = escape(f"{model.name}:{model.version}")
    hints = f"<code>%model_load {name}</code> &nbsp; <code>%model_deploy {name}</code>"
    return f'{_STYLE}<div class="modelreg"><div class="d">Registered</div>{_model(model)}<h4>Next</h4>{hints}</div>'


# --- lists ----------------------------------------------------------------------------------------------------------


def _list(rows: list[Any]) -> str:
    kind = type(rows[0]).__name__
    if kind not in COLUMNS:
        return f"<pre>{escape(to_text(rows))}</pre>"
    columns = [(heading, key) for heading, key in COLUMNS[kind] if any(getattr(row, key) not in (None, {}, [], "") for row in rows)]
    if kind == "Model":
        columns.append(("Created", "creation_context"))
    if kind == "OnlineEndpoint":
        columns.append(("URL", "scoring_uri"))
    head = "".join(f"<th>{escape(heading)}</th>" for heading, _ in columns)
    body = "".join("<tr>" + "".join(_cell(row, key) for _, key in columns) + "</tr>" for row in rows[:MAX_ROWS])
    more = (
        f'<p class="d">{len(rows) - MAX_ROWS:,} more not shown; narrow the list with --name, --tag or --search.</p>'
        if len(rows) > MAX_ROWS
        else ""
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(row: Any, key: str) -> str:
    value = getattr(row, key)
    if key == "tags":
        return f"<td>{_chips(value)}</td>"
    if key == "state":
        return f"<td>{_badge(value)}</td>"
    if key == "creation_context":
        return f'<td class="d">{_time(value)}</td>'
    if key in ("size_bytes", "delta"):
        return f'<td class="n">{escape(cell_text(value, key))}</td>'
    if key == "name" and getattr(row, "is_archived", False):
        return f'<td>{escape(str(value))} <span class="d">(archived)</span></td>'
    return f"<td>{escape(cell_text(value, key))}</td>"


def _chips(tags: dict[str, str]) -> str:
    return "".join(
        f'<span class="c">{escape(key)}{": " if value else ""}{escape(str(value))}</span>' for key, value in (tags or {}).items()
    )


def _badge(word: str | None) -> str:
    if not word:
        return ""
    kind = "ok" if word in _GOOD else "wait" if word in _WAITING else "bad"
    return f'<span class="b {kind}">{escape(word)}</span>'


def _time(context: Any) -> str:
    return escape((context.created_at or "")[:16].replace("T", " ")) if context else ""


# --- one record -----------------------------------------------------------------------------------------------------


def _model(model: Any) -> str:
    context = model.creation_context
    by = f" by {escape(context.created_by)}" if context and context.created_by else ""
    facts = [
        ("Type", escape(model.type or "") + (f' <span class="d">{escape(model.flavor)}</span>' if model.flavor else "")),
        ("Size", escape(size_text(model.size_bytes)) if model.size_bytes is not None else ""),
        ("Created", _time(context) + by if context else ""),
        ("Tags", _chips(model.tags)),
        ("Properties", _chips(model.properties)),
        ("Scan", _scan(model.scan)),
        ("Deployed", escape(", ".join(model.endpoints or []))),
        ("Source", f'<code class="d">{escape(model.path or "")}</code>'),
    ]
    title = f'<span class="t">{escape(str(model.name))}</span> <span class="d">version</span> <span class="t">{escape(str(model.version))}</span>'
    stage = f' <span class="c">{escape(model.stage)}</span>' if model.stage else ""
    archived = ' <span class="b wait">archived</span>' if model.is_archived else ""
    parts = [f"<div>{title}{stage}{archived}</div>", f"<div>{escape(model.description)}</div>" if model.description else "", _table(facts)]
    parts += [_metrics(model.metrics), _signature(model.signature), _files(model.files), _lineage(model.lineage)]
    return "".join(parts)


def _scan(scan: Any) -> str:
    if not scan:
        return ""
    lines = "".join(f'<br><span class="d">{escape(line)}</span>' for line in scan.findings)
    return _badge(scan.verdict) + lines


def _table(rows: list[tuple[str, str]]) -> str:
    shown = "".join(f'<tr><td class="d">{escape(name)}</td><td>{value}</td></tr>' for name, value in rows if value)
    return f"<table>{shown}</table>"


def _metrics(metrics: dict[str, float]) -> str:
    if not metrics:
        return ""
    rows = "".join(f'<tr><td>{escape(name)}</td><td class="n">{value:.6g}</td></tr>' for name, value in metrics.items())
    return f"<h4>Metrics</h4><table>{rows}</table>"


def _signature(signature: Any) -> str:
    if not signature or not (signature.inputs or signature.outputs):
        return ""
    rows = [("in", column) for column in signature.inputs] + [("out", column) for column in signature.outputs]
    cells = "".join(
        f'<tr><td class="d">{side}</td><td>{escape(column.name or "")}</td><td>{escape(column.type)}{escape(str(column.shape)) if column.shape else ""}</td></tr>'
        for side, column in rows
    )
    summary = f"{_count(signature.inputs, 'input')}, {_count(signature.outputs, 'output')}"
    return f"<h4>Signature</h4><details{' open' if len(rows) <= 8 else ''}><summary>{summary}</summary><table>{cells}</table></details>"


def _count(items: list[Any], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _files(files: list[Any] | None) -> str:
    if not files:
        return ""
    rows = "".join(f'<tr><td>{escape(item.path)}</td><td class="n d">{size_text(item.size_bytes)}</td></tr>' for item in files[:MAX_ROWS])
    return f"<h4>Files</h4><details{' open' if len(files) <= 6 else ''}><summary>{_count(files, 'file')}</summary><table>{rows}</table></details>"


def _lineage(lineage: Any) -> str:
    if not lineage or not (lineage.code or lineage.packages or lineage.notebook or lineage.inputs):
        return ""
    git = f"{lineage.git_commit[:10]}{' with changes' if lineage.git_is_dirty else ''}" if lineage.git_commit else ""
    facts = [("Notebook", lineage.notebook), ("Git", git), ("Made from", ", ".join(lineage.inputs)), ("Python", lineage.python)]
    packages = ", ".join(f"{name} {version}" for name, version in lineage.packages.items())
    table = _table([(name, escape(value or "")) for name, value in [*facts, ("Packages", packages)]])
    code = f"<details><summary>Code of the cell</summary><pre>{escape(lineage.code)}</pre></details>" if lineage.code else ""
    return f"<h4>Made by</h4>{table}{code}"


def _endpoint(endpoint: Any) -> str:
    url = f"<code>{escape(endpoint.scoring_uri)}</code>" if endpoint.scoring_uri else ""
    facts = [
        ("URL", url),
        ("Deployments", escape(", ".join(endpoint.deployments or []))),
        ("Traffic", escape(cell_text(endpoint.traffic, ""))),
        ("Tags", _chips(endpoint.tags)),
        ("Error", escape(endpoint.error or "")),
    ]
    hint = f'<div class="d">The URL is of the machine that runs this kernel. Key: <code>%online_endpoint_get_credentials {escape(str(endpoint.name))}</code></div>'
    head = f'<div><span class="t">{escape(str(endpoint.name))}</span> {_badge(endpoint.state)}</div>'
    return head + (f"<div>{escape(endpoint.description)}</div>" if endpoint.description else "") + _table(facts) + hint


def _deployment(deployment: Any) -> str:
    facts = [
        ("Endpoint", escape(deployment.endpoint_name or "")),
        ("Model", escape(str(deployment.model or ""))),
        ("Port", str(deployment.port or "")),
        ("Error", escape(deployment.error or "")),
    ]
    return f'<div><span class="t">{escape(str(deployment.name))}</span> {_badge(deployment.state)}</div>{_table(facts)}'


def _comparison(answer: Any) -> str:
    head = f'<div class="t">{escape(answer.first)} <span class="d">and</span> {escape(answer.second)}</div>'
    if not answer.differences:
        return head + '<p class="d">They are the same.</p>'
    sections = [_metric_bars(answer)]
    for group in ("metadata", "signature", "packages", "files"):
        items = [item for item in answer.differences if item.group == group]
        if items:
            rows = "".join(_difference(item, is_file=group == "files") for item in items[:MAX_ROWS])
            columns = f"<th></th><th>{escape(answer.first)}</th><th>{escape(answer.second)}</th>"
            sections.append(f"<h4>{group.capitalize()}</h4><table><thead><tr>{columns}</tr></thead>{rows}</table>")
    same = ", ".join(f"{count} {group}" for group, count in answer.same.items())
    return head + "".join(sections) + (f'<p class="d">The same: {escape(same)}.</p>' if same else "")


def _difference(item: Any, *, is_file: bool) -> str:
    first, second = ((value or "")[:12] if is_file else value or "" for value in (item.first, item.second))
    dash = '<span class="d">–</span>'
    return f"<tr><td>{escape(item.name)}</td><td>{escape(first) or dash}</td><td>{escape(second) or dash}</td></tr>"


def _metric_bars(answer: Any) -> str:
    if not answer.metrics:
        return ""
    rows = []
    for name, (first, second) in answer.metrics.items():
        top = max(abs(first or 0.0), abs(second or 0.0)) or 1.0
        bars = "<br>".join(
            f'<span class="bar{kind}" style="width:{abs(value or 0.0) / top * 160:.0f}px"></span>'
            for kind, value in ((" o", first), ("", second))
        )
        numbers = "<br>".join("–" if value is None else f"{value:.6g}" for value in (first, second))
        delta = "" if first is None or second is None else f"{second - first:+.4g}"
        rows.append(f'<tr><td>{escape(name)}</td><td class="n">{numbers}</td><td>{bars}</td><td class="n">{delta}</td></tr>')
    return f"<h4>Metrics</h4><table>{''.join(rows)}</table>"


def _deleted(answer: Any) -> str:
    return f"<div>Deleted {', '.join(f'<b>{escape(name)}</b>' for name in answer.names)}</div>"


def _plain(answer: Any) -> str:
    text = to_text(answer) if isinstance(answer, Record) else str(answer)
    return f"<pre>{escape(text)}</pre>"


_PAGES: dict[str, Callable[[Any], str]] = {
    "Model": _model,
    "OnlineEndpoint": _endpoint,
    "OnlineDeployment": _deployment,
    "Comparison": _comparison,
    "Deleted": _deleted,
}
