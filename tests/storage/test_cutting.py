"""A store that keeps checkpoints as their pieces: same names, same bytes, less space."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jupyter_modelreg.errors import Corrupted
from jupyter_modelreg.flavors import load_object
from jupyter_modelreg.sources.local import open_local
from jupyter_modelreg.storage import LocalStore
from jupyter_modelreg.storage.pieces import count_bytes, read_tensor
from jupyter_modelreg.trees import Manifest

MIB = 1 << 20
Tensors = dict[str, "np.ndarray"]


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(str(root), dedup="tensor")


def checkpoint(seed: int = 0, count: int = 20) -> Tensors:
    """Tensors of 128 KiB, one of 5 MiB, which is more than a block, and one that is tiny."""
    chance = np.random.default_rng(seed)
    layers = {f"layer.{number:02}": chance.integers(0, 255, (128 << 10,), "u1") for number in range(count)}
    return {**layers, "big": chance.integers(0, 255, (5 * MIB,), "u1"), "tiny": np.arange(3, dtype="u1")}


def keep(store: LocalStore, path: Path, *shards: Tensors) -> Manifest:
    """Register a file, or a folder of several."""
    path.mkdir(parents=True)
    for number, tensors in enumerate(shards):
        save_file(tensors, path / f"{number}.safetensors")
    return store.import_tree(open_local(str(path / "0.safetensors") if len(shards) == 1 else str(path)))


def on_disk(root: Path) -> int:
    return sum(os.lstat(os.path.join(place, name)).st_size for place, _, names in os.walk(root / "blobs") for name in names)


def test_a_checkpoint_costs_what_changed_in_it(store: LocalStore, root: Path, tmp_path: Path) -> None:
    first = keep(store, tmp_path / "1", checkpoint())
    before = on_disk(root)
    assert before == first.size_bytes
    changed = checkpoint()
    for name in ("layer.03", "layer.17"):
        changed[name] = changed[name] + 1
    changed["big"][0] += 1  # one block of two
    second = keep(store, tmp_path / "2", changed)
    assert on_disk(root) - before < 2 * (128 << 10) + 4 * MIB + 8000
    assert count_bytes(store, [first, second]) == on_disk(root)


def test_the_same_tensors_in_another_order_or_in_other_files_cost_next_to_nothing(store: LocalStore, root: Path, tmp_path: Path) -> None:
    tensors = checkpoint()
    keep(store, tmp_path / "1", tensors)
    before = on_disk(root)
    keep(store, tmp_path / "2", {f"{number % 7}.{name}": tensor for number, (name, tensor) in enumerate(tensors.items())})
    names = sorted(tensors)
    keep(store, tmp_path / "3", {name: tensors[name] for name in names[:9]}, {name: tensors[name] for name in names[9:]})
    assert on_disk(root) - before < 16_000


def test_files_in_pieces_are_the_same_files(store: LocalStore, root: Path, tmp_path: Path) -> None:
    shards = checkpoint(1), checkpoint(2)
    manifest = keep(store, tmp_path / "model", *shards)
    assert manifest == LocalStore(str(tmp_path / "other")).import_tree(open_local(str(tmp_path / "model")))
    assert store.holds(manifest)
    assert store.verify(manifest) == []
    content = (tmp_path / "model" / "1.safetensors").read_bytes()
    with store.open_tree(manifest).open("1.safetensors") as stream:
        assert stream.read() == content
        stream.seek(-1000, os.SEEK_END)
        assert stream.read(10) == content[-1000:-990]
    assert read_tensor(store, manifest, "1.safetensors", "big")[1] == shards[1]["big"].tobytes()
    view = Path(store.view(manifest), "model")
    assert (view / "1.safetensors").read_bytes() == content
    assert store.view(manifest) == str(view.parent)
    assert sorted(store.checkout(manifest, str(tmp_path / "copy"))) == ["model/0.safetensors", "model/1.safetensors"]
    assert (tmp_path / "copy" / "model" / "1.safetensors").read_bytes() == content


def test_arrays_of_a_file_in_pieces_are_mapped(store: LocalStore, tmp_path: Path) -> None:
    tensors = checkpoint()
    manifest = keep(store, tmp_path / "model", tensors)
    loaded = load_object(f"{store.view(manifest)}/0.safetensors", "numpy")
    assert isinstance(loaded["big"].base, np.memmap)
    assert all(np.array_equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_small_and_other_files_are_kept_whole(store: LocalStore, tmp_path: Path) -> None:
    small = keep(store, tmp_path / "small", {"w": np.zeros(100 << 10, "u1")})
    (tmp_path / "other.bin").write_bytes(os.urandom(2 * MIB))
    other = store.import_tree(open_local(str(tmp_path / "other.bin")))
    for manifest in (small, other):
        assert store.names_of(manifest) == {manifest.digest, manifest.files[0].digest}


def damage(store: LocalStore, manifest: Manifest) -> None:
    """Turn a byte of the largest piece."""
    name = max(store.names_of(manifest) - {manifest.digest}, key=lambda name: os.path.getsize(store.blob_path(name)))
    blob = Path(store.blob_path(name))
    blob.chmod(0o644)
    with blob.open("r+b") as stream:
        byte = stream.read(1)
        stream.seek(0)
        stream.write(bytes([byte[0] ^ 1]))


def test_a_damaged_piece_is_found_named_and_mended_by_registering_again(store: LocalStore, tmp_path: Path) -> None:
    manifest = keep(store, tmp_path / "model", checkpoint())
    damage(store, manifest)
    assert store.verify(manifest) == ["0.safetensors"]
    with pytest.raises(Corrupted, match=r"0\.safetensors"):
        store.view(manifest)
    with pytest.raises(Corrupted, match=r"0\.safetensors"):
        store.damaged(manifest)
    with pytest.raises(Corrupted, match=r"0\.safetensors"):
        store.checkout(manifest, str(tmp_path / "copy"))
    assert store.import_tree(open_local(str(tmp_path / "model" / "0.safetensors"))) == manifest
    assert store.verify(manifest) == []


def test_a_damaged_piece_is_mended_by_another_checkpoint_that_has_it(store: LocalStore, tmp_path: Path) -> None:
    tensors = checkpoint()
    manifest = keep(store, tmp_path / "model", tensors)
    damage(store, manifest)
    other = keep(store, tmp_path / "other", {**tensors, "tiny": np.ones(7, "u1")})
    assert store.verify(other) == []
    assert store.verify(manifest) == []


def test_what_a_clean_up_takes_between_looking_and_pinning_is_written_again(store: LocalStore, tmp_path: Path) -> None:
    first = keep(store, tmp_path / "1", checkpoint())
    save_file({**checkpoint(), "tiny": np.ones(7, "u1")}, tmp_path / "2.safetensors")

    def hold(names: set[str]) -> None:
        assert store.names_of(first) & names
        for name in store.names_of(first) - {first.digest}:
            os.unlink(store.blob_path(name))

    second = store.import_tree(open_local(str(tmp_path / "2.safetensors")), hold=hold)
    assert store.verify(second) == []


def test_a_clean_up_leaves_the_pieces_that_others_need(store: LocalStore, root: Path, tmp_path: Path) -> None:
    tensors = checkpoint()
    first = keep(store, tmp_path / "1", tensors)
    second = keep(store, tmp_path / "2", {**tensors, "layer.00": tensors["layer.01"]})
    store.view(first)
    gone = store.garbage({second.digest}, grace_seconds=-1)
    assert store.remove(gone) > 128 << 10
    assert store.verify(second) == []
    assert not store.holds(first)
    assert load_file(f"{store.view(second)}/0.safetensors")["big"].tobytes() == tensors["big"].tobytes()
    assert store.remove(store.garbage(set(), grace_seconds=-1)) > 5 * MIB
    assert [names for _, _, names in os.walk(root / "blobs") if names] == []
    assert [names for kind in ("pieces", "parts") for _, _, names in os.walk(root / kind) if names] == []
