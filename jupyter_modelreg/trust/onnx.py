"""Walk through an ONNX file without building it: only what can name a file or an operator is read, weights are passed over."""

from __future__ import annotations

from typing import Any

MAX_FIELDS = 20_000_000

# Message -> field number -> message inside it. Source: onnx.proto3.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {4: "operator", 5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {2: "value"},
}


def walk(content: Any) -> tuple[set[str], set[str]]:
    """Return the values that external tensors are described by, their places among them, and the operators.

    Raises
    ------
    ValueError
        If the bytes are no protocol buffer.
    """
    found: dict[str, set[str]] = {"value": set(), "operator": set()}
    waiting, seen = [("model", 0, len(content))], 0
    while waiting:
        message, at, end = waiting.pop()
        inner = _MESSAGES[message]
        while at < end:
            seen += 1
            if seen > MAX_FIELDS:
                raise ValueError("too many fields")
            tag, at = _varint(content, at, end)
            kind = inner.get(tag >> 3)
            if tag & 7 != 2:
                at = _pass_over(content, tag & 7, at, end)
                continue
            length, at = _varint(content, at, end)
            if at + length > end:
                raise ValueError("a field is longer than what holds it")
            if kind in found:
                found[kind].add(content[at : at + length].decode("utf-8", "replace"))
            elif kind:
                waiting.append((kind, at, at + length))
            at += length
    return found["value"], found["operator"]


def _pass_over(content: Any, wire: int, at: int, end: int) -> int:
    if wire == 0:
        return _varint(content, at, end)[1]
    if wire in (1, 5):
        return at + (8 if wire == 1 else 4)
    raise ValueError(f"wire type {wire} has no place in an ONNX file")


def _varint(content: Any, at: int, end: int) -> tuple[int, int]:
    value, shift = 0, 0
    while at < end and shift < 70:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number that does not end")
