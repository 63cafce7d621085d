"""The tree of errors: what a door may rely on."""

from __future__ import annotations

import errno
import inspect
import shutil

import pytest

from jupyter_modelreg import errors
from jupyter_modelreg.errors import InvalidInput, ModelRegistryError, nearest, system_refusal

CLASSES = [item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, ModelRegistryError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_an_exit_code_and_a_status_of_its_branch(kind: type[ModelRegistryError]) -> None:
    branch = {1: 500, 2: 400, 3: 404, 4: 409, 5: 403, 6: 503}
    assert branch[kind.exit_code] == kind.status
    assert kind.__name__ in str(errors.__doc__)
    assert inspect.getdoc(kind)


def test_a_notebook_shows_one_line_and_the_detail_below_it() -> None:
    assert InvalidInput("Wrong.", key="a.b")._render_traceback_() == ["InvalidInput: Wrong."]
    shown = ModelRegistryError("Failed.", detail="Traceback:\n  line 3\n")._render_traceback_()
    assert shown == ["ModelRegistryError: Failed.", "", "Traceback:", "  line 3"]


def test_the_message_is_the_text_and_the_key_is_kept() -> None:
    error = InvalidInput("Wrong.", key="a.b", detail="more")
    assert (str(error), error.message, error.key, error.detail) == ("Wrong.", "Wrong.", "a.b", "more")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space", "/a/b"), "/a/b cannot be used: the disk is full. Mend that and try again."),
        (
            OSError(errno.EACCES, "Permission", "/a", None, "/b"),
            "/b cannot be used: you may not read or write there. Mend that and try again.",
        ),
        (OSError(errno.EROFS, "x"), "A file cannot be read or written: the file system is read-only. Mend that and try again."),
        (
            shutil.Error([("/a", "/b", "[Errno 28] No space left on device: '/a' -> '/b'")]),
            "/b cannot be used: the disk is full. Mend that and try again.",
        ),
        (FileNotFoundError(errno.ENOENT, "x", "/a"), None),
        (shutil.Error([("/a", "/b", "[Errno 2] No such file")]), None),
        (shutil.Error("no list"), None),
        (OSError("no number"), None),
    ],
)
def test_what_the_system_refuses_is_one_line_and_a_fault_of_ours_is_not(error: OSError, said: str | None) -> None:
    refusal = system_refusal(error)
    assert (refusal and refusal.message) == said


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [("descripton", ["name", "description"], ' Did you mean "description"?'), ("x", ["description"], ""), ("", [], "")],
)
def test_the_nearest_word_is_named_or_none(word: str, known: list[str], said: str) -> None:
    assert nearest(word, known) == said
