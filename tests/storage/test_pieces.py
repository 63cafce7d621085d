"""The pieces of safetensors files: found while a file is hashed, whatever the chunks, and only in sound files."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from jupyter_modelreg.errors import Corrupted, NotFound
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.storage.pieces import (
    BLOCK_BYTES,
    Piece,
    PieceHasher,
    count_bytes,
    describe_tensors,
    find_pieces,
    format_pieces,
    parse_pieces,
    read_tensor,
)
from jupyter_modelreg.trees import Manifest
from tests.trust.hostile import MADE, safetensors, tensor

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__")


def pieces_of(content: bytes, *cuts: int) -> list[Piece] | None:
    hasher = PieceHasher(len(content))
    for begin, end in zip((0, *cuts), (*cuts, len(content)), strict=True):
        hasher.update(content[begin:end])
    return hasher.pieces()


def check_cover(content: bytes, pieces: list[Piece]) -> None:
    at = 0
    for piece in pieces:
        assert piece.offset == at
        assert piece.digest == blake3(content[at : at + piece.size_bytes]).hexdigest()
        at += piece.size_bytes
    assert at == len(content)


@given(
    tensors=st.dictionaries(NAMES, st.binary(max_size=40), max_size=6),
    data=st.data(),
)
def test_pieces_cover_the_file_and_are_hashed_right_whatever_the_chunks(tensors: dict[str, bytes], data: st.DataObject) -> None:
    content = save({name: np.frombuffer(raw, "u1") for name, raw in tensors.items()}, {"format": "np"})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=12)))
    pieces = pieces_of(content, *cuts)
    assert pieces is not None
    check_cover(content, pieces)
    assert [piece.name for piece in pieces[:1]] == [""]
    assert sorted(piece.name for piece in pieces[1:]) == sorted(name for name, raw in tensors.items() if raw)
    assert parse_pieces(format_pieces(pieces), len(content)) == pieces


@given(st.binary(max_size=300), st.data())
def test_any_bytes_give_pieces_that_cover_them_or_none(content: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    pieces = pieces_of(content, *cuts)
    if pieces is not None:
        check_cover(content, pieces)


def test_big_tensors_come_in_blocks(tmp_path: Path) -> None:
    weights = np.arange((2 * BLOCK_BYTES + 400) // 4, dtype="u4")
    save_file({"w": weights, "b": np.ones(3)}, tmp_path / "m.safetensors")
    pieces = find_pieces(str(tmp_path / "m.safetensors"))
    assert pieces is not None
    check_cover((tmp_path / "m.safetensors").read_bytes(), pieces)
    assert [piece.size_bytes for piece in pieces if piece.name == "w"] == [BLOCK_BYTES, BLOCK_BYTES, 400]
    assert [piece.size_bytes for piece in pieces if piece.name == "b"] == [24]


def test_the_same_tensor_elsewhere_in_another_file_has_the_same_pieces() -> None:
    weights, bias = np.arange(3 * BLOCK_BYTES // 4, dtype="u4"), np.ones(7, "f4")
    first, second = pieces_of(save({"a.w": weights, "b": bias})), pieces_of(save({"z": bias, "zz.w": weights, "new": np.zeros(5)}))
    assert first is not None
    assert second is not None
    assert {piece.digest for piece in first if piece.name} < {piece.digest for piece in second}


SOUND = {"a": tensor(0, 8)}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, content) for name, content in MADE.items() if name.endswith(".safetensors") and isinstance(content, bytes)),
        ("empty", b""),
        ("no header", (0).to_bytes(8, "little")),
        ("cut off", safetensors(SOUND, bytes(8))[:-1]),
        ("something behind", safetensors(SOUND, bytes(9))),
        ("other text encoding", safetensors(json.dumps(SOUND).encode("utf-16"), bytes(8))),
        ("truth for a number", safetensors({"a": {"dtype": "U8", "shape": [True], "data_offsets": [0, 1]}}, b"1")),
        ("huge numbers", safetensors({"a": {"dtype": "U8", "shape": [10**4000] * 200 + [0], "data_offsets": [0, 0]}})),
        ("an entry that is a list", safetensors({"a": [0, 8]}, bytes(8))),
        ("metadata that is a list", safetensors({"__metadata__": [1]})),
        ("numbers as metadata", safetensors({"__metadata__": {"a": 1}})),
    ],
)
def test_what_is_no_sound_safetensors_file_has_no_pieces(name: str, content: bytes) -> None:
    assert pieces_of(content) is None
    assert pieces_of(content, *range(1, min(len(content), 50))) is None


def test_a_file_that_is_longer_or_shorter_than_was_said_has_no_pieces() -> None:
    content = save({"a": np.ones(2)})
    for fed in (content + b"x", content[:-1]):
        hasher = PieceHasher(len(content))
        hasher.update(fed[:5])
        hasher.update(fed[5:])
        assert (hasher.pieces() is None) == (len(fed) < len(content))


@pytest.mark.parametrize("text", [b"[" * 5_000_000, b"{" + b'"a":[],' * 3_000_000 + b'"b":1}', b"[" + b"1," * 10_000_000 + b"1]"])
def test_a_hostile_header_costs_no_more_than_its_own_size(text: bytes) -> None:
    content = safetensors(text)
    tracemalloc.start()
    begin = time.monotonic()
    try:
        assert pieces_of(content) is None
        assert tracemalloc.get_traced_memory()[1] < 6 * len(content)
        assert time.monotonic() - begin < 5
    finally:
        tracemalloc.stop()


def test_other_files_are_not_looked_into() -> None:
    hasher = PieceHasher(1 << 30)
    hasher.update(b"\x80\x04\x95" + bytes(3) + b"\x01\x01" * 500)
    assert hasher.is_over


@pytest.mark.parametrize("text", [b"", b"[]x", b"{", b'{"a": 1}', b"[[1]]", b'[["", 1, 2, "ab"]]', b'[["", 0, 0, "ab"]]', b"[" * 100_000])
def test_kept_pieces_that_are_damaged_are_told(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_pieces(text, 0)


def kept(store: LocalStore, path: Path, **tensors: np.ndarray) -> Manifest:
    """Register a file of tensors."""
    path.parent.mkdir(exist_ok=True)
    save_file(tensors, path)
    return store.import_tree(open_local(str(path)))


def blob_of(store: LocalStore, manifest: Manifest) -> Path:
    blob = Path(store.blob_path(manifest.files[0].digest))
    blob.chmod(0o644)
    return blob


def test_one_tensor_is_read_and_checked_without_the_rest(store: LocalStore, tmp_path: Path) -> None:
    weights = np.arange((BLOCK_BYTES + 40) // 8, dtype="f8")
    manifest = kept(store, tmp_path / "m.safetensors", a=np.ones(3, "i2"), empty=np.zeros((0, 2)), w=weights)
    tensor, content = read_tensor(store, manifest, "m.safetensors", "w")
    assert (tensor.dtype, tensor.shape, content) == ("F64", [len(weights)], weights.tobytes())
    assert read_tensor(store, manifest, "m.safetensors", "empty")[1] == b""
    with pytest.raises(NotFound, match=r'm\.safetensors holds no tensor "ww"\. Did you mean "w"'):
        read_tensor(store, manifest, "m.safetensors", "ww")
    with pytest.raises(NotFound, match=r"other of m\.safetensors is no safetensors file"):
        read_tensor(store, manifest, "other", "w")
    with blob_of(store, manifest).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)  # the bytes of "a", the smallest type
        stream.write(b"\xff")
    assert read_tensor(store, manifest, "m.safetensors", "w")[1] == weights.tobytes()
    with pytest.raises(Corrupted, match=r'"a" of m\.safetensors is damaged'):
        read_tensor(store, manifest, "m.safetensors", "a")


def test_a_tensor_that_versions_share_counts_once(store: LocalStore, tmp_path: Path) -> None:
    first = kept(store, tmp_path / "1" / "m.safetensors", a=np.ones(1000), b=np.zeros(1000))
    second = kept(store, tmp_path / "2" / "m.safetensors", a=np.ones(1000), b=np.full(1000, 2.0))
    (tmp_path / "notes").write_bytes(b"words")
    notes = store.import_tree(open_local(str(tmp_path / "notes")))
    header = first.size_bytes - 16_000
    assert count_bytes(store, [first, second, notes]) == header + 24_000 + 5


def test_a_file_from_before_there_were_pieces_is_read_for_them_when_it_is_asked_for(store: LocalStore, tmp_path: Path) -> None:
    manifest = kept(store, tmp_path / "m.safetensors", a=np.ones(3), b=np.zeros(2, "i1"))
    described = describe_tensors(store, manifest)
    assert sorted(described) == ["a", "b"]
    for damaged in (b"[[", None):
        path = Path(store.pieces_path(manifest.files[0].digest))
        path.unlink()
        if damaged:
            path.write_bytes(damaged)
        assert store.pieces(manifest.files[0]) is None
        assert describe_tensors(store, manifest) == described
    assert count_bytes(store, [manifest]) == manifest.size_bytes
    with blob_of(store, manifest).open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(b"\xff")
    assert describe_tensors(store, manifest) == {}
