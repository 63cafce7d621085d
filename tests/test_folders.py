from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from jupyter_modelreg.folders import make_folder


def test_a_made_folder_and_its_parents_belong_to_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_folder(str(tmp_path / "a" / "b"))
        make_folder(str(tmp_path / "a" / "b"))
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


def test_a_file_where_a_folder_must_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OSError, match="File exists"):
        make_folder(str(tmp_path / "a" / "b"))
