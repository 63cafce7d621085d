"""What one file is, judged by its first bytes, and what loading it could run. Containers are opened, with limits."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import tarfile
import zipfile
import zlib
from typing import Any

from ..safe_names import is_allowed, is_blocked
from .pickles import looks_like_pickle, names_in_text_pickle, scan_pickles

Finding = tuple[str, list[str]]

MAX_DEPTH = 4
MAX_MEMBERS = 10_000
MAX_EXPANDED_BYTES = 4 << 30
MAX_RATIO = 200
RATIO_FROM_BYTES = 64 << 20
HEAD_BYTES = 4096
MAX_TEXT_BYTES = 8 << 20

_PICKLE_ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".sav", ".pt", ".pth", ".bin", ".ckpt", ".cloudpickle")
_ORDER = ("data-only", "known-pickle", "unknown-names", "not-inspected", "blocked")
_UNREADABLE = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
_TEXT_ENDINGS = (".yaml", ".yml", ".json", "mlmodel")


def needs_child(path: str, local: str) -> bool:
    """Say whether a file must be parsed to be judged; plain data is recognised by its first bytes alone."""
    with open(local, "rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head[:6] == b"\x93NUMPY":
        return b"'O'" in head or b"|O" in head
    if path.lower().endswith((*_PICKLE_ENDINGS, *_TEXT_ENDINGS, ".onnx", ".safetensors", ".keras", ".h5")):
        return True
    return bool(head) and (_container(head) is not None or looks_like_pickle(head) or _is_binary_start(head))


def inspect_file(path: str, local: str) -> Finding:
    """Return the verdict on one file and a line for each thing found."""
    with open(local, "rb") as stream:
        return _inspect(path, stream, 0)


def _is_binary_start(head: bytes) -> bool:
    """Say whether a file may be a pickle of the old text protocols or something unknown."""
    return head[:1] in b"(}])cilodINSVFX" and b"\n" in head and (b"." in head)


def _inspect(path: str, stream: Any, depth: int) -> Finding:
    if depth > MAX_DEPTH:
        return "not-inspected", [f"{path}: archives in archives, {MAX_DEPTH} deep"]
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    kind = _container(head)
    if kind in _OPENERS:
        try:
            return _OPENERS[kind](path, stream, depth)
        except (OSError, ValueError, EOFError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
            return "not-inspected", [f"{path}: {type(error).__name__}: {error}"]
    if kind:
        return "not-inspected", [f"{path}: {kind} archives are not opened"]
    return _inspect_plain(path, stream, head)


def _inspect_plain(path: str, stream: Any, head: bytes) -> Finding:
    name = path.lower()
    if head[:6] == b"\x93NUMPY":
        return _inspect_npy(path, stream, head)
    if looks_like_pickle(head):
        return _judge_pickle(path, *scan_pickles(stream))
    if name.endswith(".safetensors"):
        return _inspect_safetensors(path, stream)
    if name.endswith(".onnx"):
        return _inspect_onnx(path, stream)
    if head[:4] == b"\x89HDF":
        return _inspect_hdf(path, stream)
    if name.endswith((".yaml", ".yml", "mlmodel", ".json")):
        return _inspect_text(path, stream.read(MAX_TEXT_BYTES))
    names = names_in_text_pickle(head)
    if names:
        return _judge_pickle(path, *scan_pickles(stream))
    if name.endswith(_PICKLE_ENDINGS) and head and name.rpartition(".")[2] not in ("bin",):
        return "not-inspected", [f"{path}: it is named like a pickle and is none that can be read"]
    return "data-only", []


def _judge_pickle(path: str, names: set[str], stopped: str) -> Finding:
    blocked = sorted(name for name in names if is_blocked(name) and not is_allowed(name))
    unknown = sorted(name for name in names if not is_allowed(name) and not is_blocked(name))
    findings = [f"{path}: {name}" for name in (*blocked, *unknown)]
    if stopped:
        findings.append(f"{path}: the pickle is broken ({stopped[:120]})")
    verdict = "blocked" if blocked else "not-inspected" if stopped else "unknown-names" if unknown else "known-pickle"
    return verdict, findings


# --- containers -----------------------------------------------------------------------------------------------------


def _container(head: bytes) -> str | None:
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[257:262] == b"ustar":
        return "tar"
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head[:3] == b"BZh":
        return "bzip2"
    if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"]\x00\x00":
        return "xz"
    if head[:1] == b"\x78" and len(head) > 1 and head[1] in (0x01, 0x5E, 0x9C, 0xDA) and (head[0] * 256 + head[1]) % 31 == 0:
        return "zlib"
    return next((name for magic, name in _UNREADABLE.items() if head.startswith(magic)), None)


def _open_zip(path: str, stream: Any, depth: int) -> Finding:
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        _check_members(members)
        names = {member.filename for member in members}
        if "schema.json" in names:
            return _inspect_skops(path, archive)
        found = [_inspect_member(f"{path}/{member.filename}", archive, member, depth) for member in members if not member.is_dir()]
        if "config.json" in names:
            found.append(_inspect_keras(path, archive.read("config.json")))
    return _worst(found)


def _check_members(members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_MEMBERS or len({member.filename for member in members}) != len(members):
        raise ValueError("too many members, or two of one name")
    for member in members:
        if member.filename.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", member.filename):
            raise ValueError(f"the member {member.filename!r} leads out of the archive")
        if member.file_size > RATIO_FROM_BYTES and member.file_size > MAX_RATIO * max(member.compress_size, 1):
            raise ValueError(f"the member {member.filename!r} grows more than {MAX_RATIO} times")
    if sum(member.file_size for member in members) > MAX_EXPANDED_BYTES * 8:
        raise ValueError("it expands to too much")


def _inspect_member(path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, depth: int) -> Finding:
    with archive.open(member) as stream:
        return _inspect(path, stream, depth + 1)


def _open_tar(path: str, stream: Any, depth: int) -> Finding:
    found: list[Finding] = []
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for number, member in enumerate(archive):
            if number > MAX_MEMBERS:
                raise ValueError("too many members")
            if member.name.startswith("/") or ".." in member.name.split("/") or not (member.isfile() or member.isdir()):
                return "blocked", [f"{path}/{member.name}: a link, a device or a way out of the archive"]
            content = archive.extractfile(member)
            if content is not None:
                found.append(_inspect(f"{path}/{member.name}", content, depth + 1))
    return _worst(found)


def _open_compressed(path: str, stream: Any, depth: int) -> Finding:
    return _inspect(path, _Bounded(stream), depth + 1)


class _Bounded(io.RawIOBase):
    """A decompressed stream that ends with an error when it grows beyond bearing; rewinds by starting over."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._start()

    def _start(self) -> None:
        self._source.seek(0)
        magic = self._source.read(6)
        self._source.seek(0)
        kind = _container(magic)
        opened = {"gzip": gzip.GzipFile, "bzip2": bz2.BZ2File, "xz": lzma.LZMAFile, "zlib": _ZlibFile}[str(kind)]
        self._plain: Any = opened(fileobj=self._source) if kind == "gzip" else opened(self._source)
        self._done = 0

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes: to the start."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read decompressed bytes."""
        data = bytes(self._plain.read(size))
        self._count(len(data))
        return data

    def readline(self, size: int | None = -1) -> bytes:
        """Read one decompressed line."""
        data = bytes(self._plain.readline())
        self._count(len(data))
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Rewind, or read on up to an offset."""
        if whence:
            raise OSError("only from the start")
        if offset < self._done:
            self._start()
        while self._done < offset and self.read(min(1 << 20, offset - self._done)):
            pass
        return self._done

    def tell(self) -> int:
        """Return the decompressed offset."""
        return self._done

    def _count(self, count: int) -> None:
        self._done += count
        if self._done > MAX_EXPANDED_BYTES or (self._done > RATIO_FROM_BYTES and self._done > MAX_RATIO * max(self._source.tell(), 1)):
            raise ValueError(f"it expands to more than {self._done >> 20} MiB")


class _ZlibFile(io.BufferedReader):
    """joblib's zlib files, which the standard library cannot open by itself."""

    def __init__(self, source: Any) -> None:
        super().__init__(_ZlibRaw(source))


class _ZlibRaw(io.RawIOBase):
    def __init__(self, source: Any) -> None:
        self._source, self._decoder, self._left = source, zlib.decompressobj(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left and not self._decoder.eof:
            data = self._decoder.unconsumed_tail or self._source.read(1 << 16)
            if not data:
                break
            self._left = self._decoder.decompress(data, 1 << 20)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


_OPENERS = {"zip": _open_zip, "tar": _open_tar, **dict.fromkeys(("gzip", "bzip2", "xz", "zlib"), _open_compressed)}


# --- formats --------------------------------------------------------------------------------------------------------


def _inspect_npy(path: str, stream: Any, head: bytes) -> Finding:
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    header = head[8 + width : 8 + width + length]
    if b"'O'" not in header and b"|O" not in header:
        return "data-only", []
    stream.seek(8 + width + length)
    return _judge_pickle(path, *scan_pickles(stream))


def _inspect_safetensors(path: str, stream: Any) -> Finding:
    """Check that the header describes exactly the bytes that follow it."""
    size = stream.seek(0, os.SEEK_END) if hasattr(stream, "fileno") else None
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if length > 100 << 20:
        return "not-inspected", [f"{path}: its header claims {length >> 20} MiB"]
    try:
        header = json.loads(stream.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "not-inspected", [f"{path}: its header is broken"]
    if size is not None and size != 8 + length + max(ends, default=0):
        return "not-inspected", [f"{path}: its length does not fit its header"]
    return "data-only", []


def _inspect_onnx(path: str, stream: Any) -> Finding:
    """Look for tensors kept outside: ``location`` entries that lead out of the folder."""
    content = stream.read(MAX_EXPANDED_BYTES)
    for match in re.finditer(rb"\x0a\x08location\x12([\x00-\x7f])", content):
        target = content[match.end() : match.end() + match.group(1)[0]].decode("utf-8", "replace")
        if target.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", target) or ":" in target:
            return "blocked", [f"{path}: reads {target}, outside the model"]
    return "data-only", []


def _inspect_hdf(path: str, stream: Any) -> Finding:
    content = stream.read(MAX_EXPANDED_BYTES)
    if re.search(rb'"class_name":\s*"Lambda"', content):
        return "blocked", [f"{path}: a Keras Lambda layer, which is code"]
    return "data-only", []


def _inspect_keras(path: str, config: bytes) -> Finding:
    if re.search(rb'"class_name":\s*"(Lambda|__lambda__)"', config):
        return "blocked", [f"{path}: a Keras Lambda layer, which is code"]
    modules = {match.decode() for match in re.findall(rb'"module":\s*"([^"]+)"', config)}
    foreign = sorted(module for module in modules if module.partition(".")[0] != "keras")
    return ("unknown-names", [f"{path}: {module}" for module in foreign]) if foreign else ("data-only", [])


def _inspect_skops(path: str, archive: zipfile.ZipFile) -> Finding:
    """Judge a skops file by the types its schema names; it constructs nothing else."""
    if archive.getinfo("schema.json").file_size > MAX_EXPANDED_BYTES // 8:
        return "not-inspected", [f"{path}: its schema is too large"]
    names: set[str] = set()
    _collect_types(json.loads(archive.read("schema.json")), names)
    verdict, findings = _judge_pickle(path, names, "")
    return ("data-only" if verdict == "known-pickle" else verdict), findings


def _collect_types(value: Any, names: set[str]) -> None:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "__module__" in item and "__class__" in item:
                names.add(f"{item['__module__']}.{item['__class__']}")
            if item.get("__loader__") == "FunctionNode" and isinstance(item.get("content"), dict):
                names.add(f"{item['content'].get('module_path')}.{item['content'].get('function')}")
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _inspect_text(path: str, text: bytes) -> Finding:
    """Look for what makes a loader import code: YAML tags, MLflow's loader and code folder, ``auto_map``."""
    name = path.rpartition("/")[2]
    if re.search(rb"!!?python/|!<tag:yaml.org,2002:python", text):
        return "blocked", [f"{path}: a YAML tag that constructs Python objects"]
    if name == "MLmodel":
        return _inspect_mlmodel(path, text)
    if name in ("config.json", "tokenizer_config.json") and b'"auto_map"' in text:
        return "unknown-names", [f"{path}: auto_map names code of its own"]
    return "data-only", []


def _inspect_mlmodel(path: str, text: bytes) -> Finding:
    """Look for code that MLflow imports: a loader of one's own, a code folder, models from code."""
    import yaml

    try:
        flavors = yaml.safe_load(text)["flavors"]
        function = flavors.get("python_function", {})
        codes = [str(flavor["code"]) for flavor in flavors.values() if flavor.get("code")]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, RecursionError):
        return "not-inspected", [f"{path}: it is no description of an MLflow model"]
    loader = str(function.get("loader_module", "mlflow"))
    found = [f"{path}: loader_module {loader}"] if loader.partition(".")[0] != "mlflow" else []
    found += [f"{path}: it brings code of its own, {code}" for code in sorted(set(codes))]
    if function.get("model_code_path"):
        found.append(f"{path}: it is made of code, {function['model_code_path']}")
    return ("unknown-names", found) if found else ("data-only", [])


def _worst(found: list[Finding]) -> Finding:
    findings = [line for _, lines in found for line in lines]
    return max((verdict for verdict, _ in found), key=_ORDER.index, default="data-only"), findings
