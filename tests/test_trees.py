"""Files that can be listed and opened, wherever they lie."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.records import from_dict
from jupyter_modelreg.storage import LocalStore, check_relative_path
from jupyter_modelreg.testing.stores import GivenTree
from jupyter_modelreg.trees import Manifest, ManifestFile, no_such_file, paths, read_bytes


def test_only_the_beginning_of_a_file_is_read() -> None:
    tree = GivenTree({"a": b"0123456789"})
    assert read_bytes(tree, "a", limit_bytes=4) == b"0123"
    assert read_bytes(tree, "a") == b"0123456789"
    assert list(paths(tree)) == ["a"]


def test_a_missing_file_names_what_there_is() -> None:
    assert no_such_file(GivenTree({"b": b"", "a": b""}), "c").message == 'There is no "c" in "model"; it holds a, b.'
    assert no_such_file(GivenTree({}), "c").message.endswith("it holds nothing.")


def test_a_manifest_knows_its_size() -> None:
    manifest = Manifest(
        root="m", files=(ManifestFile(path="a", size_bytes=2, digest="x"), ManifestFile(path="b", size_bytes=3, digest="y"))
    )
    assert manifest.size_bytes == 5


SEGMENTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\"), min_size=1, max_size=6).filter(
    lambda part: part not in (".", "..")
)
PATHS = st.lists(SEGMENTS, min_size=1, max_size=3).map("/".join)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(PATHS, st.binary(max_size=20), min_size=1, max_size=6))
def test_any_tree_is_kept_whole_whatever_its_files_are_called(files: dict[str, bytes]) -> None:
    import tempfile

    names = list(files)
    if any(path != other and path.startswith(f"{other}/") for path in names for other in names):
        return
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        manifest = store.import_tree(GivenTree(files))
        tree = store.open_tree(store.load_manifest(manifest.digest))
        assert {path: read_bytes(tree, path) for path in paths(tree)} == files
        assert from_dict(Manifest, manifest.to_dict()) == manifest
        reordered = GivenTree(dict(reversed(files.items())))
        assert store.import_tree(reordered).digest == manifest.digest


@settings(deadline=None)
@given(st.text(max_size=20))
def test_a_path_that_passes_stays_below_where_it_is_joined(path: str) -> None:
    import posixpath

    try:
        check_relative_path(path)
    except InvalidInput:
        return
    assert posixpath.normpath(f"/root/{path}") == f"/root/{path}"


@pytest.mark.parametrize("path", ["a\\..\\b", "C:\\x", "..", "/etc/passwd", "a\x00"])
def test_a_path_that_means_something_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        check_relative_path(path)
