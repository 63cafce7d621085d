"""Answers as HTML for notebooks, in light and dark, in JupyterLab and elsewhere.

Every value is escaped; nothing a model says of itself becomes markup. Styles stand on the elements, since JupyterLab
takes style sheets and ``var()`` out of a notebook that it does not trust yet: each colour is given twice, the theme's
last, and what is less important is fainter, not grey.
"""

from __future__ import annotations

import json
from html import escape
from typing import Any

from ..records import Record
from .display import (
    COLUMNS,
    DRIFT_COLUMNS,
    KEYS_HIDDEN,
    MAX_LISTED,
    cell_text,
    cleaned_text,
    column_texts,
    count_text,
    created_text,
    difference_texts,
    drift_cells,
    drift_heads,
    environment_text,
    exported_text,
    mend_text,
    mirror_text,
    more_text,
    numbers_text,
    onward_text,
    packages_text,
    removed_text,
    shortened,
    shown_columns,
    size_text,
    stats_facts,
    stay_text,
    to_text,
    unmounted_text,
    value_at,
    verified_text,
)
from .plots import MAX_PLOTS, histogram_boxes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_ROWS = 200  # of what is folded
MAX_OPEN = 6  # files that need not be folded
MAX_MARKS = 4  # tags and metrics of one row of a list
BAR_PIXELS = 96
DIGEST_LENGTH = 64
LONG = 24  # a text longer than this may be broken anywhere

_LEFT = ' style="text-align:left"'
_WHOLE = ' style="white-space:nowrap"'
_FAINT = ' style="opacity:.65"'
_CHIP = ' style="display:inline-block;background:rgba(128,128,128,.16);border-radius:9px;padding:0 8px;margin:1px 4px 1px 0"'
_NUMBER = ' style="display:inline-block;white-space:nowrap;margin-right:10px"'
_LABEL = ' style="text-align:left;vertical-align:top;white-space:nowrap;opacity:.65;padding:2px 16px 2px 0"'
_VALUE = ' style="text-align:left;vertical-align:top;padding:2px 16px 2px 0"'
_PLAIN_ROW = ' style="background:transparent"'  # facts are no list: no stripes
_PRE = ' style="white-space:pre-wrap;max-height:320px;overflow:auto;margin:4px 0"'
_BREAKS = ' style="min-width:14em;max-width:28em;overflow-wrap:anywhere"'

_COLOURS = {
    "good": "color:#2e8b57;color:var(--jp-success-color1,#2e8b57)",
    "waiting": "color:#c77700;color:var(--jp-warn-color1,#c77700)",
    "bad": "color:#d32f2f;color:var(--jp-error-color1,#d32f2f)",
}
_BAR = "background:#1976d2;background:var(--jp-brand-color1,#1976d2)"
_GOOD = {"ok", "healthy", "data-only", "known-pickle"}
_WAITING = {"quality", "too-few", "new", "skipped", "starting", "unknown-names", "not-inspected", "empty", "stopped"}


def to_html(answer: Any, *, empty: str = "") -> str:
    """Return an answer as one HTML fragment."""
    if isinstance(answer, list):
        return _page(_list(answer) if answer else _faint(empty))
    return _page(_PAGES.get(type(answer).__name__, _plain)(answer))


def registered_html(model: Any) -> str:
    """Return the card that a cell shows after it registered a model."""
    name = escape(f"{model.name}:{model.version}")
    hints = ("%model_load", "%model_deploy") if model.flavor else ("%model_download", "%%model_deploy ENDPOINT --model")
    codes = " &nbsp; ".join(f"<code>{hint} {name}</code>" for hint in hints)
    return _page(f"{_faint('Registered')}{_model(model)}<div>{_span('Next')} &nbsp; {codes}</div>")


def progress_html(label: str, share: float, facts: list[str]) -> str:
    """Return a bar with what a person asks of it: how far, how much, how fast, how long still."""
    done = f'<div style="{_BAR};width:{share * 100:.1f}%;height:100%;border-radius:3px"></div>'
    bar = f'<div style="flex:0 1 240px;height:6px;border-radius:3px;background:rgba(128,128,128,.25)">{done}</div>'
    said = "".join(f"<span>{escape(fact.strip())}</span>" for fact in [f"{int(share * 100)}%", *facts] if fact.strip())
    line = "display:flex;gap:14px;align-items:center;white-space:nowrap;font-variant-numeric:tabular-nums"
    return _page(f'<div style="{line}"><b style="overflow:hidden;text-overflow:ellipsis">{escape(label)}</b>{bar}{said}</div>')


def _page(body: str) -> str:
    return f'<div class="modelreg" style="line-height:1.5">{body}</div>'


# --- lists ----------------------------------------------------------------------------------------------------------


def _list(rows: list[Any]) -> str:
    kind = type(rows[0]).__name__
    if kind not in COLUMNS:
        return f"<pre{_PRE}>{escape(to_text(rows))}</pre>"
    columns = [column for column in shown_columns(rows) if column[1] != "is_archived"]  # the name says it
    head = "".join(f"<th{'' if key in _NUMBERS else _LEFT}>{escape(heading)}</th>" for heading, key in columns)
    body = "".join("<tr>" + "".join(_cell(row, key) for _, key in columns) + "</tr>" for row in rows[:MAX_LISTED])
    more = _faint(more_text(len(rows))) + _faint(onward_text(rows))
    return f'<table style="margin:0"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}'


_NUMBERS = {
    *("size_bytes", "delta", "instance_count"),
    *("numbers.requests_per_second", "numbers.p50_ms", "numbers.errors", "numbers.memory_bytes"),
}


def _cell(row: Any, key: str) -> str:
    value = value_at(row, key)
    if key in _NUMBERS:
        return f"<td{_WHOLE}>{escape(cell_text(value, key))}</td>"
    return f"<td{_LEFT}>{_inside(row, key, value)}</td>"


def _inside(row: Any, key: str, value: Any) -> str:
    if key in ("tags", "metrics"):
        first = dict(list(value.items())[:MAX_MARKS])
        more = f" {_span(f'and {len(value) - MAX_MARKS} more')}" if len(value) > MAX_MARKS else ""
        return (_chips({name: shortened(text) for name, text in first.items()}) if key == "tags" else _numbers(first)) + more
    if key == "state":
        return _state(value)
    if key == "name" and type(row).__name__ == "Damage":
        return f"<code>{_broken(value[:12] if len(value) == DIGEST_LENGTH else value)}</code>"
    if key in ("is_ok", "is_mended"):
        return _dot("good" if value else "bad")
    if key == "digest":
        return f"<code>{escape(value[:12])}</code>"
    if key in ("creation_context", "at"):
        return f'<span style="opacity:.65;white-space:nowrap">{escape(cell_text(value, key))}</span>'
    if key == "scoring_uri":
        return f"<code>{escape(value)}</code>" if value else ""
    text = _broken(cell_text(value, key))
    if key == "name" and len(value) <= LONG:
        text = f"<span{_WHOLE}>{text}</span>"  # else it would break at its dashes
    return f"{text} {_span('archived')}" if key == "name" and getattr(row, "is_archived", False) else text


# --- one record -----------------------------------------------------------------------------------------------------


def _model(model: Any) -> str:
    facts = [
        ("Metrics", _numbers(model.metrics)),
        ("Tags", _chips(model.tags)),
        ("Properties", _chips(model.properties)),
        ("Type", escape(model.type or "") + (f" {_span(model.flavor)}" if model.flavor and model.flavor not in (model.type or "") else "")),
        ("Size", escape(size_text(model.size_bytes))),
        ("Created", _created(model.creation_context)),
        ("Scan", _scan(model.scan)),
        ("Served by", escape(", ".join(model.endpoints or []))),
        ("Made from", escape(", ".join(model.lineage.inputs)) if model.lineage else ""),
    ]
    marks = "".join(_chip(word) for word in (model.stage, "archived" if model.is_archived else None) if word)
    parts = [_title(model.name, f"version {model.version}", marks), _described(model), _facts(facts)]
    return "".join([*parts, _signature(model.signature), _files(model), _lineage(model.lineage)])


def _scan(scan: Any) -> str:
    return _state(scan.verdict) + "".join(f"<br>{_span(line)}" for line in scan.findings) if scan else ""


def _signature(signature: Any) -> str:
    if not signature or not (signature.inputs or signature.outputs):
        return ""
    rows = [("In", _columns(signature.inputs)), ("Out", _columns(signature.outputs))]
    return _folded(f"{count_text(signature.inputs, 'input')}, {count_text(signature.outputs, 'output')}", _facts(rows))


def _columns(columns: list[Any]) -> str:
    """Show columns by type, since a model often has many of one."""
    by_type: dict[str, list[str]] = {}
    for name, kind in column_texts(columns):
        by_type.setdefault(kind, []).append(name)
    return "".join(f"<div>{_span(kind)} {escape(', '.join(filter(None, names)))}</div>" for kind, names in by_type.items())


def _files(model: Any) -> str:
    if not model.files:
        return ""
    rows = [(size_text(item.size_bytes), _broken(item.path)) for item in model.files[:MAX_ROWS]]
    source = f'<code style="overflow-wrap:anywhere">{escape(model.path)}</code>' if model.path else ""
    return _folded(count_text(model.files, "file"), _facts(rows) + source, is_open=len(rows) <= MAX_OPEN)


def _lineage(lineage: Any) -> str:
    if not lineage or not (lineage.code or lineage.packages or lineage.notebook):
        return ""
    git = f"{lineage.git_commit[:10]}{' with changes' if lineage.git_is_dirty else ''}" if lineage.git_commit else ""
    notebook = (lineage.notebook or "").replace("\\", "/").rpartition("/")[2]  # a saved output shall not tell where it was made
    packages = ", ".join(f"{name} {version}" for name, version in lineage.packages.items())
    facts = [("Notebook", notebook), ("Git", git), ("Python", lineage.python or ""), ("Packages", packages)]
    code = f"<pre{_PRE}>{escape(lineage.code.strip())}</pre>" if lineage.code else ""
    return _folded(
        "Code, packages and git commit" if git else "Code and packages", _facts((name, escape(text)) for name, text in facts) + code
    )


def _environment(environment: Any) -> str:
    build = environment.build
    facts = [
        ("Packages", _broken(packages_text(environment.conda_file))),
        ("Image", _broken(environment.image or "")),
        ("Dockerfile", escape(build.dockerfile_path) if build else ""),
        ("System", escape(environment.os_type) if environment.os_type != "linux" else ""),
        ("Tags", _chips(environment.tags)),
        ("Properties", _chips(environment.properties)),
        ("Created", _created(environment.creation_context)),
    ]
    marks = _chip("archived") if environment.is_archived else ""
    return _title(environment.name, f"version {environment.version}", marks) + _described(environment) + _facts(facts)


def _built(build: Any) -> str:
    facts = [
        ("Asked for", _broken(", ".join(build.requirements))),
        ("Python", escape(build.python)),
        ("Packages", str(build.packages)),
        ("Size", escape(size_text(build.size_bytes))),
        ("Used by", escape(", ".join(build.deployments))),
    ]
    return _title(", ".join(build.environments) or build.digest[:12], "", "") + _facts(facts)


def _removed(answer: Any) -> str:
    return f"<div>{escape(removed_text(answer))}</div>"


def _endpoint(endpoint: Any) -> str:
    name = escape(str(endpoint.name))
    facts = [
        ("URL", f"<code>{escape(endpoint.scoring_uri)}</code>" if endpoint.scoring_uri else ""),
        ("Deployments", escape(", ".join(endpoint.deployments or []))),
        ("Traffic", "".join(_share(name, percent) for name, percent in endpoint.traffic.items())),
        ("Copies", "".join(_share(name, percent) for name, percent in endpoint.mirror_traffic.items() if percent)),
        *((name, escape(numbers_text(numbers))) for name, numbers in (endpoint.numbers or {}).items()),
        ("Tags", _chips(endpoint.tags)),
        ("Error", _broken(endpoint.error or "")),
        ("Ask it", f"<code>%model_invoke {name} X.head(2)</code>" if endpoint.state == "healthy" else ""),
        ("Its log", f"<code>%model_logs {name}</code>" if endpoint.state in ("failed", "unhealthy", "stopped") else ""),
    ]
    where = _faint("The URL is on the machine that runs this kernel.") if endpoint.scoring_uri else ""
    return _title(endpoint.name, "", _state(endpoint.state)) + _described(endpoint) + _facts(facts) + where


def _share(name: str, percent: int) -> str:
    """Show a share as a length, and in words."""
    full = "display:inline-block;width:120px;height:7px;margin-right:8px;border-radius:3px;overflow:hidden;background:rgba(128,128,128,.25)"
    part = f"display:block;width:{percent}%;height:100%;background:rgba(128,128,128,.9)"
    return f'<div><span style="{full}"><span style="{part}"></span></span>{escape(name)} {percent} %</div>'


def _deployment(deployment: Any) -> str:
    facts = [
        ("Endpoint", escape(deployment.endpoint_name or "")),
        ("Model", escape(str(deployment.model or ""))),
        ("Instances", str(deployment.instance_count) if deployment.instance_count > 1 else ""),
        ("Environment", _broken(environment_text(deployment.environment)) if deployment.environment else ""),
        ("Otherwise here", "".join(f"<div>{_broken(line)}</div>" for line in deployment.notices or [])),
        ("Port", str(deployment.port or "")),
        ("Now", escape(numbers_text(deployment.numbers)) if deployment.numbers else ""),
        ("Tags", _chips(deployment.tags)),
        ("Error", _broken(deployment.error or "")),
    ]
    return _title(deployment.name, "", _state(deployment.state)) + _described(deployment) + _facts(facts)


def _comparison(answer: Any) -> str:
    title = f"<div><b>{escape(answer.first)}</b> {_span('and')} <b>{escape(answer.second)}</b></div>"
    if not answer.differences:
        return title + _faint("They are the same.")
    heads = "".join(f"<th{_LEFT}>{escape(text)}</th>" for text in ("", answer.first, answer.second, "Change"))
    body = "".join(_compared(answer, group) for group in ("metrics", "metadata", "signature", "packages", "files", "tensors"))
    same = ", ".join(f"{count} {group}" for group, count in answer.same.items())
    return f'<table style="margin:0"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>' + (
        _faint(f"The same: {same}.") if same else ""
    )


def _compared(answer: Any, group: str) -> str:
    rows = _metric_rows(answer) if group == "metrics" else [_difference(item) for item in answer.differences if item.group == group]
    more = [f"<tr><td{_LEFT} colspan=4>{_span(f'{len(rows) - MAX_ROWS:,} more')}</td></tr>"] if len(rows) > MAX_ROWS else []
    head = f'<tr style="background:transparent"><td{_LEFT} colspan=4>{_span(group.capitalize())}</td></tr>'
    return "".join([head, *rows[:MAX_ROWS], *more]) if rows else ""


def _difference(item: Any) -> str:
    name, *sides, change = difference_texts(item)
    shown = [_span(text[:12]) for text in sides] if item.group == "files" else [_broken(text) for text in sides]
    return "<tr>" + "".join(f"<td{_LEFT}>{text}</td>" for text in (_broken(name), *shown, _broken(change))) + "</tr>"


def _metric_rows(answer: Any) -> list[str]:
    """Show every metric, also those that are equal, with bars of a common scale."""
    rows = []
    for name, (first, second) in answer.metrics.items():
        top = max(abs(first or 0.0), abs(second or 0.0)) or 1.0
        sides = "".join(f"<td{_LEFT}>{'–' if value is None else _bar(value, top)}</td>" for value in (first, second))
        change = "" if first is None or second is None else f"{second - first:+.4g}"
        rows.append(f"<tr><td{_LEFT}>{_broken(name)}</td>{sides}<td{_LEFT}>{change}</td></tr>")
    return rows


def _bar(value: float, top: float) -> str:
    width = max(1, round(abs(value) / top * BAR_PIXELS))
    return f'{value:.6g}<div style="{_BAR};width:{width}px;height:4px;border-radius:2px"></div>'


def _deleted(answer: Any) -> str:
    if not answer.names:
        return _faint("Nothing to delete.")
    names = ", ".join(f"<b>{escape(name)}</b>" for name in answer.names)
    return f"<div>Deleted {names}</div>" + _faint(stay_text(answer, "%store_clean"))


def _downloaded(answer: Any) -> str:
    size = f"{count_text(answer.files, 'file')}, {size_text(answer.size_bytes)}"
    files = "".join(f"<div>{_broken(path)}</div>" for path in answer.files[:MAX_ROWS])
    return f"<div>Wrote {size}, to <code>{escape(answer.path)}</code></div>" + _folded(
        "Files", files, is_open=len(answer.files) <= MAX_OPEN
    )


def _mount(answer: Any) -> str:
    about = f"{size_text(answer.size_bytes)}: {answer.reason}"
    return f"<div><code>{escape(answer.path)}</code> shows <b>{escape(answer.model)}</b> {_span(about)}</div>"


def _unmounted(answer: Any) -> str:
    return f"<div>{escape(unmounted_text(answer))}</div>" + "".join(f"<div>{_broken(path)}</div>" for path in answer.left[:MAX_ROWS])


def _exported(answer: Any) -> str:
    said = exported_text(answer.replace(path=""))
    name = answer.path.replace("\\", "/").rpartition("/")[2]
    return f"<div>{escape(said)}<code>{escape(answer.path)}</code></div>" + _faint(f"Elsewhere: %model_import {name}")


def _stats(answer: Any) -> str:
    return _facts((name.capitalize(), _broken(value)) for name, value in stats_facts(answer))


def _verification(answer: Any) -> str:
    said = f"<div>{_dot('good' if answer.is_ok else 'bad')} {escape(verified_text(answer))}</div>"
    advice = "" if answer.is_ok else _faint(mend_text("%store_verify"))
    return said + (_list(answer.damages) if answer.damages else "") + advice


def _cleaned(answer: Any) -> str:
    return f"<div>{escape(cleaned_text(answer))}</div>"


def _drift(report: Any) -> str:
    titles = "".join(
        f"<th{'' if name in _DRIFT_NUMBERS else _LEFT}>{name}</th>" for name in ("Column", "Training and live", *DRIFT_COLUMNS[1:], "Why")
    )
    rows = "".join(_drifted(item, has_picture=at < MAX_PLOTS) for at, item in enumerate(report.columns[:MAX_ROWS]))
    more = (
        _faint(f"{len(report.columns) - MAX_ROWS:,} more columns are not shown; see them in .columns.")
        if len(report.columns) > MAX_ROWS
        else ""
    )
    head = _title(report.endpoint, report.deployment, _state(report.verdict)) + "".join(map(_faint, drift_heads(report)))
    return f'{head}<table style="margin:4px 0"><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>{more}'


_DRIFT_NUMBERS = set(DRIFT_COLUMNS[2:])


def _drifted(item: Any, *, has_picture: bool) -> str:
    name, verdict, *numbers = drift_cells(item)
    picture = histogram_boxes(item.histogram) if item.histogram and has_picture else ""
    why = "".join(f"<div{_WHOLE}>{escape(reason)}</div>" for reason in item.reasons)
    cells = "".join(f"<td{_WHOLE}>{escape(text)}</td>" for text in numbers)
    return f"<tr><td{_LEFT}>{_broken(name)}</td><td{_LEFT}>{picture}</td><td{_LEFT}><span{_WHOLE}>{_state(verdict)}</span></td>{cells}<td{_LEFT}>{why}</td></tr>"


def _mirror(report: Any) -> str:
    differing = _facts([("Differing", f"<code>{escape(', '.join(report.differing))}</code>")]) if report.differing else ""
    return f"<div>{escape(mirror_text(report))}</div>{differing}"


def _log(answer: Any) -> str:
    return f"<pre{_PRE}>{escape(to_text(answer))}</pre>" if answer.text else _faint("Nothing was printed.")


def _invocation(answer: Any) -> str:
    text = answer.body if isinstance(answer.body, str) else json.dumps(answer.body, ensure_ascii=False)
    return f"<pre{_PRE}>{escape(text)}</pre>"


def _keys(answer: Any) -> str:
    return _faint(KEYS_HIDDEN)


def _plain(answer: Any) -> str:
    text = to_text(answer) if isinstance(answer, Record) else str(answer)
    return f"<pre{_PRE}>{escape(text)}</pre>"


_PAGES: dict[str, Callable[[Any], str]] = {
    "Model": _model,
    "OnlineEndpoint": _endpoint,
    "OnlineDeployment": _deployment,
    "EndpointKeys": _keys,
    "Environment": _environment,
    "PythonBuild": _built,
    "Removed": _removed,
    "Comparison": _comparison,
    "DriftReport": _drift,
    "MirrorReport": _mirror,
    "Deleted": _deleted,
    "Downloaded": _downloaded,
    "Exported": _exported,
    "StoreStats": _stats,
    "Verification": _verification,
    "Cleaned": _cleaned,
    "Mount": _mount,
    "Unmounted": _unmounted,
    "LogText": _log,
    "Invocation": _invocation,
}


# --- pieces -----------------------------------------------------------------------------------------------------------


def _title(name: str | None, about: str, marks: str) -> str:
    return f'<div><b style="font-size:1.15em;overflow-wrap:anywhere">{escape(str(name))}</b> {_span(about)} {marks}</div>'


def _described(record: Any) -> str:
    return f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{escape(record.description)}</div>' if record.description else ""


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    """Return a table of names and values (values are HTML), without those that are empty."""
    shown = "".join(f"<tr{_PLAIN_ROW}><td{_LABEL}>{escape(name)}</td><td{_VALUE}>{value}</td></tr>" for name, value in rows if value)
    return f'<table style="margin:0"><tbody>{shown}</tbody></table>' if shown else ""


def _folded(summary: str, body: str, *, is_open: bool = False) -> str:
    return f'<details{" open" if is_open else ""}><summary style="cursor:pointer;opacity:.65">{escape(summary)}</summary>{body}</details>'


def _chips(tags: dict[str, str] | None) -> str:
    return " ".join(_chip(f"{key}={value}" if value else key) for key, value in (tags or {}).items())


def _chip(text: str) -> str:
    return f"<span{_CHIP}>{_broken(text)}</span>"


def _numbers(metrics: dict[str, float] | None) -> str:
    return " ".join(f"<span{_NUMBER}>{_span(name)} {value:.6g}</span>" for name, value in (metrics or {}).items())


def _state(word: str | None) -> str:
    return f"{_dot('good' if word in _GOOD else 'waiting' if word in _WAITING else 'bad')} {escape(word)}" if word else ""


def _dot(kind: str) -> str:
    return f'<span style="{_COLOURS[kind]}">●</span>'


def _span(text: str) -> str:
    return f"<span{_FAINT}>{escape(text)}</span>" if text else ""


def _faint(text: str) -> str:
    return f"<div{_FAINT}>{escape(text)}</div>" if text else ""


def _broken(text: str) -> str:
    return f"<div{_BREAKS}>{escape(text)}</div>" if len(text) > LONG else escape(text)


def _created(context: Any) -> str:
    if not context:
        return ""
    return escape(created_text(context)) + (f" {_span('by')} {escape(context.created_by)}" if context.created_by else "")
