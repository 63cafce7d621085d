"""What one file is, judged by its content, and what loading it could run. Containers are opened, with limits."""

from __future__ import annotations

import ast
import json
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from typing import Any

from ..errors import InvalidInput
from ..safe_names import is_allowed, is_blocked
from ..tensors import MAX_HEADER_BYTES, header_end, parse_header
from .containers import OPENERS, container_of, has_zip_end
from .pickles import Found, looks_like_pickle, scan_pickles, scan_plainly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .containers import Finding

VERDICTS = ("data-only", "known-pickle", "unknown-names", "not-inspected", "blocked")  # from harmless to worst
MAX_DEPTH = 4
HEAD_BYTES = 4096
MAX_TEXT_BYTES = 8 << 20
MAX_PLAIN_HEADER_BYTES = 4 << 20  # what this process parses by itself
MAX_IN_ARCHIVE_BYTES = 256 << 20
MAX_SHOWN = 20

_PICKLE_ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".sav", ".pt", ".pth", ".ckpt", ".cloudpickle")
_OPCODES = frozenset(b"().012BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}") | frozenset(range(0x80, 0x99))
_PLAIN_NPY = re.compile(rb"\{'descr': '[<>|=][biufc]\d+', 'fortran_order': (True|False), 'shape': \([\d, ]*\), \} *\n?$")
_BROKEN = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    KeyError,
    TypeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


def needs_child(path: str, stream: Any) -> bool:
    """Say whether a file must be parsed to be judged; plain data is recognised by its first and last bytes alone."""
    head = stream.read(HEAD_BYTES)
    if head[:8] == b"\x93NUMPY\x01\x00" and _PLAIN_NPY.match(head[10 : 10 + int.from_bytes(head[8:10], "little")]):
        return False
    if _is_plain_safetensors(path, head, stream):
        return False
    is_named = path.lower().endswith(_PICKLE_ENDINGS) or _format_of(path, head) is not None
    return bool(head) and (is_named or container_of(head) is not None or head[0] in _OPCODES or has_zip_end(stream))


def _is_plain_safetensors(path: str, head: bytes, stream: Any) -> bool:
    """Say whether a file is safetensors with a sound header and surely nothing else: no archive, and no reader of pickles gets beyond its length."""
    if not path.lower().endswith(".safetensors"):
        return False
    size = stream.seek(0, os.SEEK_END)
    end = header_end(head, size)
    if not 0 < end <= MAX_PLAIN_HEADER_BYTES:
        return False
    if not _breaks_as_pickle(head) or container_of(head) or has_zip_end(stream):
        return False
    stream.seek(8)
    try:
        parse_header(stream.read(end - 8), size - end)
    except ValueError:
        return False
    return True


def _breaks_as_pickle(head: bytes) -> bool:
    """Say whether every unpickler meets a byte that is no opcode in these, and before it no name and no end."""
    from pickletools import opcodes

    known, at = {ord(opcode.code): opcode for opcode in opcodes}, 0
    while at < len(head):
        opcode = known.get(head[at])
        if opcode is None:
            return True
        if opcode.name.startswith("EXT") or opcode.name in ("STOP", "BINPERSID"):
            return False
        width = opcode.arg.n if opcode.arg else 0
        if width == _LINE:
            return opcode.name in ("PUT", "GET") and b"\0" in head[at:].partition(b"\n")[0]  # no number has such a byte
        counted = _COUNTED.get(width, 0)
        at += 1 + counted + (width if width >= 0 else int.from_bytes(head[at + 1 : at + 1 + counted], "little"))
    return False


_LINE, _COUNTED = -1, {-2: 1, -3: 4, -4: 4, -5: 8}  # pickletools: UP_TO_NEWLINE, TAKEN_FROM_ARGUMENT… and how wide that is


def inspect_file(path: str, local: str) -> Finding:
    """Return the verdict on one file and a line for each thing found, no more than people read."""
    try:
        with open(local, "rb") as stream:
            verdict, findings = _inspect(path, stream, os.fstat(stream.fileno()).st_size, 0)
    except (Exception, RecursionError) as error:  # hostile bytes may make a parser raise anything
        verdict, findings = "not-inspected", [f"{path}: {type(error).__name__}: {error}"]
    return verdict, [_printable(line) for line in findings[:MAX_SHOWN]]


def _inspect(path: str, stream: Any, size: int | None, depth: int) -> Finding:
    """Judge a stream that can be rewound; all that it could be read as counts."""
    if depth > MAX_DEPTH:
        return "not-inspected", [f"{path}: archives in archives, {MAX_DEPTH} deep"]
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    kind = container_of(head) or ("zip" if depth == 0 and has_zip_end(stream) else None)
    judge = _format_of(path, head)
    found = [_inspect_container(path, stream, kind, depth)] if kind else []
    if judge:
        stream.seek(0)
        found.append(judge(path, stream, size))
    if head[:1] and head[0] in _OPCODES:
        stream.seek(0)
        found.append(_inspect_pickle(path, stream, size, head))
    if not found and path.lower().endswith(_PICKLE_ENDINGS) and head:
        return "not-inspected", [f"{path}: it is named like a pickle and is none that can be read"]
    return _worst(found)


def _inspect_container(path: str, stream: Any, kind: str, depth: int) -> Finding:
    if kind not in OPENERS:
        return "not-inspected", [f"{path}: {kind} archives are not opened"]
    try:
        found = OPENERS[kind](path, stream, lambda inner, content, size: _inspect(inner, content, size, depth + 1))
        if kind == "zip":
            found.append(_inspect_zip_kind(path, stream))
    except _BROKEN as error:
        return "not-inspected", [f"{path}: {type(error).__name__}: {error}"]
    return _worst(found)


def _inspect_pickle(path: str, stream: Any, size: int | None, head: bytes) -> Finding:
    found = scan_pickles(stream, size)
    if found.has_arrays:
        stream.seek(0)
        scan_plainly(stream, size, found)
    if found.is_exhausted:
        return "not-inspected", [f"{path}: {found.stopped}"]
    # A text such as a list of words may name something too, but it breaks before that is called.
    if found.is_whole or found.is_called or (found.names and looks_like_pickle(head)):
        return _judge_names(path, found)
    if path.lower().endswith(_PICKLE_ENDINGS) and not container_of(head):
        return "not-inspected", [f"{path}: it is named like a pickle and is none that can be read"]
    return "data-only", []


def _judge_names(path: str, found: Found) -> Finding:
    blocked = sorted(name for name in found.names if is_blocked(name) and not is_allowed(name))
    unknown = sorted(name for name in found.names if not is_allowed(name) and not is_blocked(name))
    findings = [f"{path}: {name}" for name in (*blocked, *unknown)]
    is_broken = bool(found.stopped) or not found.is_whole
    if is_broken:
        findings.append(f"{path}: the pickle is broken ({found.stopped or 'it ends early'})")
    return "blocked" if blocked else "not-inspected" if is_broken else "unknown-names" if unknown else "known-pickle", findings


# --- arrays ---------------------------------------------------------------------------------------------------------


def _inspect_npy(path: str, stream: Any, size: int | None) -> Finding:
    """Let arrays of numbers pass; an array of objects is a pickle."""
    start = stream.read(12)
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > MAX_TEXT_BYTES:
        return "not-inspected", [f"{path}: its header claims {length >> 20} MiB"]
    stream.seek(8 + width)
    described = ast.literal_eval(stream.read(length).decode("latin-1").strip())["descr"]
    if not _holds_objects(described):
        return "data-only", []
    found = scan_pickles(stream, None if size is None else size - 8 - width - length)
    return _judge_names(path, found) if found.names or found.stopped else ("not-inspected", [f"{path}: an array of objects that is broken"])


def _holds_objects(described: Any) -> bool:
    """Say whether a dtype, as ``.npy`` writes it, is or holds anything but numbers and text of a fixed size."""
    if isinstance(described, str):
        return re.fullmatch(r"[<>|=]?[biufcmMSUVa?]\d*(\[\w+\])?", described) is None
    return any(_holds_objects(field[1]) for field in described)


def _inspect_safetensors(path: str, stream: Any, size: int | None) -> Finding:
    """Check that the header describes exactly the bytes that follow it, each once."""
    length = int.from_bytes(stream.read(8), "little")
    if length > MAX_HEADER_BYTES:
        return "not-inspected", [f"{path}: its header claims {length >> 20} MiB"]
    try:
        parse_header(stream.read(length), None if size is None else size - 8 - length)
    except ValueError as error:
        return "not-inspected", [f"{path}: {error}"]
    return "data-only", []


# --- formats of libraries -------------------------------------------------------------------------------------------


def _inspect_onnx(path: str, stream: Any, size: int | None) -> Finding:
    """Look for tensors kept in files outside the model, and for nodes that load compiled code."""
    from .onnx import walk

    locations, operators = walk(_content(stream, size))
    found = [f"{path}: reads {place}, outside the model" for place in sorted(locations) if _leads_out(place)]
    if found:
        return "blocked", found
    engines = sorted(operators & {"EPContext", "PyOp", "PythonOp"})
    return ("unknown-names", [f"{path}: {name}, which runs compiled or foreign code" for name in engines]) if engines else ("data-only", [])


def _inspect_hdf(path: str, stream: Any, size: int | None) -> Finding:
    """Look into the description that Keras keeps in an HDF5 file, byte by byte; weights alone have none."""
    content = _content(stream, size)
    if content.find(b"model_config") < 0:
        return "data-only", []
    if re.search(rb'"class_name"\s*:\s*"(Lambda|__lambda__)"', content):
        return "blocked", [f"{path}: a Keras Lambda layer, which is code"]
    modules = {match.decode("utf-8", "replace") for match in re.findall(rb'"module"\s*:\s*"([^"]+)"', content)}
    foreign = sorted(module for module in modules if module.partition(".")[0] not in ("keras", "tensorflow", "tf_keras"))
    if foreign or re.search(rb"\\u00[0-9a-fA-F]{2}", content):
        return "unknown-names", [f"{path}: {module}" for module in foreign] or [f"{path}: a description in disguise"]
    return "data-only", []


def _inspect_gguf(path: str, stream: Any, size: int | None) -> Finding:
    content = _content(stream, size)[: 64 << 20]
    at = content.find(b"tokenizer.chat_template")
    length = int.from_bytes(content[at + 27 : at + 35], "little")
    return _judge_template(path, content[at + 35 : at + 35 + length].decode("utf-8", "replace")) if at >= 0 else ("data-only", [])


def _inspect_zip_kind(path: str, stream: Any) -> Finding:
    """Judge what only the archive as a whole tells: skops and Keras files. Their members were inspected already."""
    with zipfile.ZipFile(stream) as archive:
        names = set(archive.namelist())
        if "schema.json" in names:
            return _inspect_skops(path, _read_json(archive, "schema.json"))
        if "config.json" in names and ("metadata.json" in names or path.lower().endswith(".keras")):
            return _inspect_keras(path, _read_json(archive, "config.json"))
    return "data-only", []


def _read_json(archive: zipfile.ZipFile, name: str) -> Any:
    if archive.getinfo(name).file_size > MAX_IN_ARCHIVE_BYTES:
        raise ValueError(f"its {name} is too large")
    return json.loads(archive.read(name))


def _inspect_skops(path: str, schema: Any) -> Finding:
    """Judge a skops file by the types its schema names; it constructs nothing else."""
    found = Found()
    found.is_whole = True
    for item in _mappings(schema):
        if "__module__" in item and "__class__" in item:
            found.names.add(f"{item['__module__']}.{item['__class__']}")
        content = item.get("content")
        if isinstance(content, dict) and "module_path" in content:
            found.names.add(f"{content['module_path']}.{content.get('function')}")
    verdict, findings = _judge_names(path, found)
    return ("data-only" if verdict == "known-pickle" else verdict), findings


def _inspect_keras(path: str, config: Any) -> Finding:
    foreign = set()
    for item in _mappings(config):
        if item.get("class_name") in ("Lambda", "__lambda__"):
            return "blocked", [f"{path}: a Keras Lambda layer, which is code"]
        module = item.get("module")
        if isinstance(module, str) and module.partition(".")[0] != "keras":
            foreign.add(f"{module}.{item.get('class_name')}" if item.get("class_name") != "function" else f"{module}.{item.get('config')}")
    return ("unknown-names", [f"{path}: {name}" for name in sorted(foreign)]) if foreign else ("data-only", [])


# --- text -----------------------------------------------------------------------------------------------------------


def _inspect_yaml(path: str, stream: Any, size: int | None) -> Finding:
    text = _text(stream)
    if re.search(r"!!?python/|!<tag:yaml\.org,2002:python|^%TAG", text, re.MULTILINE):
        return "blocked", [f"{path}: a YAML tag that constructs Python objects"]
    return "data-only", []


def _inspect_json(path: str, stream: Any, size: int | None) -> Finding:
    """Look into a description of a transformer for what makes its library import the folder's own code."""
    text = _text(stream)
    if not re.search(r"auto_map|chat_template|\\u00", text):
        return "data-only", []
    described = json.loads(text)
    if any("auto_map" in item for item in _mappings(described)):
        return "unknown-names", [f"{path}: auto_map names code of its own"]
    templates = [item["chat_template"] for item in _mappings(described) if "chat_template" in item]
    return _judge_template(path, json.dumps(templates))


def _judge_template(path: str, template: str) -> Finding:
    is_odd = re.search(r"__|\|\s*attr\b|\\x5f|\\u005f", template)
    return ("unknown-names", [f"{path}: a chat template that reaches for Python's own attributes"]) if is_odd else ("data-only", [])


def _inspect_triton(path: str, stream: Any, size: int | None) -> Finding:
    """Look for libraries and environments that Triton would load, and for files outside the repository."""
    text = _text(stream)
    found = [f"{path}: {word}" for word in ("op_library_filename", "EXECUTION_ENV_PATH") if word in text]
    if "\\" in text:
        found.append(f"{path}: text in disguise")
    out = [f"{path}: reads {value}, outside the model" for value in re.findall(r"[\"']([^\"'\n]*)[\"']", text) if _leads_out(value)]
    return ("blocked", out) if out else ("unknown-names", found) if found else ("data-only", [])


def _inspect_module_name(path: str, stream: Any, size: int | None) -> Finding:
    """Judge the files in which MLflow keeps the name of a module that it imports."""
    name = _text(stream).strip()
    is_known = name in ("pickle", "cloudpickle", "mlflow.pytorch.pickle_module", "keras", "tensorflow.keras", "tf_keras")
    return ("data-only", []) if is_known else ("unknown-names", [f"{path}: {name}"])


def _inspect_mlmodel(path: str, stream: Any, size: int | None) -> Finding:
    """Look for code that MLflow imports: loaders, a code folder, models from code, classes by name; and for ways out."""
    from ..entities.loading import parse_yaml

    try:
        flavors = parse_yaml(_text(stream), "MLmodel")["flavors"]
        items = [item for about in flavors.values() for item in about.items()]
    except (InvalidInput, TypeError, KeyError, AttributeError):
        return "not-inspected", [f"{path}: it is no description of an MLflow model"]
    out = [f"{path}: {key} is {value}, outside the model" for key, value in items if key != "uri" and _leads_out(value)]
    found = [f"{path}: the flavor {flavor}, whose loader is not known" for flavor in flavors if flavor not in _KNOWN_FLAVORS]
    for key, value in items:
        said = _MLFLOW_RULES.get(str(key))
        if said and value and not said[1](str(value)):
            found.append(f"{path}: {said[0]} {value}")
        elif key == "artifacts":
            out += [f"{path}: {item['path']}, outside the model" for item in _mappings(value) if _leads_out(item.get("path"))]
    return ("blocked", out) if out else ("unknown-names", found) if found else ("data-only", [])


# Flavors whose loaders read only files that are inspected here.
_KNOWN_FLAVORS = frozenset(
    ["python_function", "sklearn", "onnx", "xgboost", "lightgbm", "catboost", "statsmodels", "prophet", "pmdarima", "pytorch", "keras"]
)
_KNOWN_LOADERS = frozenset({f"mlflow.{name}" for name in _KNOWN_FLAVORS} | {"mlflow.pyfunc.model"})

# Key in MLmodel -> what it means and which values run nothing.
_MLFLOW_RULES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "loader_module": ("loader_module", _KNOWN_LOADERS.__contains__),
    "code": ("it brings code of its own,", lambda value: False),
    "model_code_path": ("it is made of code,", lambda value: False),
    "model_class": ("model_class", is_allowed),
    "keras_module": ("keras_module", lambda value: value in ("keras", "tensorflow.keras")),
    "custom_objects": ("custom_objects", lambda value: False),
}

# --- steps ----------------------------------------------------------------------------------------------------------

# What a file is by its first bytes, by its name, or by the end of its name.
_BY_HEAD: dict[bytes, Callable[[str, Any, int | None], Finding]] = {
    b"\x93NUMPY": _inspect_npy,
    b"\x89HDF": _inspect_hdf,
    b"GGUF": _inspect_gguf,
}
_BY_NAME: dict[str, Callable[[str, Any, int | None], Finding]] = {
    "MLmodel": _inspect_mlmodel,
    "config.json": _inspect_json,
    "tokenizer_config.json": _inspect_json,
    "config.pbtxt": _inspect_triton,
    "pickle_module_info.txt": _inspect_module_name,
    "keras_module.txt": _inspect_module_name,
    "saved_model.pb": lambda path, stream, size: ("not-inspected", [f"{path}: TensorFlow graphs can read and write files"]),
}
_BY_END: dict[str, Callable[[str, Any, int | None], Finding]] = {
    ".safetensors": _inspect_safetensors,
    ".onnx": _inspect_onnx,
    ".h5": _inspect_hdf,  # what a file begins with is left to whoever made it
    ".hdf5": _inspect_hdf,
    ".yaml": _inspect_yaml,
    ".yml": _inspect_yaml,
}


def _format_of(path: str, head: bytes) -> Callable[[str, Any, int | None], Finding] | None:
    by_head = next((judge for magic, judge in _BY_HEAD.items() if head.startswith(magic)), None)
    name = path.rpartition("/")[2]
    return by_head or _BY_NAME.get(name) or _BY_END.get(os.path.splitext(name)[1].lower())


def _content(stream: Any, size: int | None) -> Any:
    """Return all bytes: mapped where they lie on disk, read where they are packed and not too many."""
    import mmap

    try:
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, AttributeError):
        found = stream.read(MAX_IN_ARCHIVE_BYTES + 1)
    if len(found) > MAX_IN_ARCHIVE_BYTES:
        raise ValueError(f"larger than {MAX_IN_ARCHIVE_BYTES >> 20} MiB in an archive")
    return found


def _text(stream: Any) -> str:
    """Return a text whole: one that is cut off may say something else."""
    found = stream.read(MAX_TEXT_BYTES + 1)
    if len(found) > MAX_TEXT_BYTES:
        raise ValueError(f"larger than {MAX_TEXT_BYTES >> 20} MiB")
    return str(found, "utf-8-sig")


def _mappings(value: Any) -> list[dict[str, Any]]:
    """Return every mapping in nested plain values, without recursion."""
    waiting, found = [value], []
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            found.append(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return found


def _leads_out(value: Any) -> bool:
    """Say whether a text is a path that leaves the folder it counts from."""
    return isinstance(value, str) and (
        value.startswith(("/", "\\", "~", "file:")) or re.match(r"[A-Za-z]:", value) is not None or ".." in re.split(r"[/\\]", value)
    )


def _printable(line: str) -> str:
    shown = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line[:400])
    return f"{shown[:200]}…" if len(shown) > 200 else shown


def _worst(found: list[Finding]) -> Finding:
    """Return the worst verdict and all findings, the worst first."""
    ranked = sorted(found, key=lambda item: -VERDICTS.index(item[0]))
    return ranked[0][0] if ranked else "data-only", [line for _, lines in ranked for line in lines]
