"""A tree: files that can be listed and opened, wherever they lie.

Sources make trees, flavors look into them, the store keeps them. Only what all three need stands here.
"""

from __future__ import annotations

from .errors import NotFound
from .records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, Protocol

    class Tree(Protocol):
        """Files under one root. Paths are relative to the root, with ``/``, in code point order.

        ``root`` is the last segment of the registered path. A single file is a tree with one file whose path is
        ``root`` and ``is_file`` is True; the paths of a folder do not include ``root``.
        """

        root: str
        is_file: bool

        def files(self) -> list[TreeFile]: ...
        def open(self, path: str) -> BinaryIO:
            """Open for reading. Raises NotFound if there is no such file, Conflict if it is not the one that was listed."""
            ...

        def local_path(self, path: str) -> str | None:
            """Return where the file lies on this machine, or None if it can only be read through ``open``.

            Where this is a path, what ``open`` returns has the descriptor of that file.
            """
            ...


class TreeFile(Record):
    """One file of a tree."""

    path: str = field(help="Relative path with forward slashes.")
    size_bytes: int = field(help="Length in bytes.")


class ManifestFile(TreeFile):
    """One file of a stored tree; ``digest`` is the BLAKE3 of its bytes in hex."""

    digest: str = field(help="BLAKE3 of the content, 64 hex digits.")


class Manifest(Record):
    """A stored tree: what it holds, under which name. Its own digest is the identity of a version's content."""

    root: str
    is_file: bool = False
    files: tuple[ManifestFile, ...] = ()
    digest: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(item.size_bytes for item in self.files)


def read_bytes(tree: Tree, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
    """Read the first bytes of one file of a tree, at most `limit_bytes`.

    Raises
    ------
    NotFound
        If the tree has no such file.
    """
    with tree.open(path) as stream:
        return stream.read(limit_bytes)


def paths(tree: Tree) -> Iterator[str]:
    """Yield the paths of a tree's files."""
    return (item.path for item in tree.files())


def no_such_file(tree: Tree, path: str) -> NotFound:
    """Return the error for a path that a tree does not have; it names what the tree holds."""
    held = ", ".join(sorted(paths(tree))[:5])
    return NotFound(f'There is no "{path}" in "{tree.root}"; it holds {held or "nothing"}.')
