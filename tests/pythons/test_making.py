"""Environments are made once, wholly or not at all, and again the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jupyter_modelreg import pythons
from jupyter_modelreg.errors import Unavailable
from jupyter_modelreg.pythons import PythonEnvironment, digest_of, find_build, list_builds, make_python, remove_build, support
from jupyter_modelreg.pythons.conda import Recipe

SIX = Recipe(requirements=["six==1.16.0"])
_MAKES = "import sys; from jupyter_modelreg.pythons import Recipe, make_python; print(make_python(sys.argv[1], Recipe(requirements=sys.argv[2:])))"


def start(folder: str, *requirements: str, **environment: str) -> subprocess.Popen[bytes]:
    """Ask for an environment in a process of its own."""
    words = [sys.executable, "-c", _MAKES, folder, *requirements]
    return subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_has_what_was_asked_for_and_nothing_of_this_kernel(folder: str) -> None:
    python = make_python(folder, SIX)
    assert output(python, "-c", "import six; print(six.__version__)") == "1.16.0"
    assert output(python, "-c", "import importlib.util as u; print(u.find_spec('pytest'), u.find_spec('jupyter_modelreg'))") == "None None"
    build = find_build(folder, digest_of(SIX))
    assert build
    assert (build.packages, build.requirements) == (["six==1.16.0"], ["six==1.16.0"])
    assert build.python == ".".join(map(str, sys.version_info[:3]))
    assert build.size_bytes > 10_000
    assert Path(f"{folder}/{build.digest}.txt").read_text() == "six==1.16.0\n"


def test_it_is_made_once_however_many_ask_at_a_time(folder: str) -> None:
    runs = [start(folder, "six==1.16.0") for _ in range(4)]
    answers = [run.communicate() for run in runs]
    assert [error for _, error in answers] == [b""] * 4
    assert len({answer for answer, _ in answers}) == 1
    made = [item for item in os.scandir(folder) if item.is_dir()]
    assert len(made) == 1
    before = os.stat(f"{made[0].path}/pyvenv.cfg").st_mtime_ns
    make_python(folder, SIX)
    assert os.stat(f"{made[0].path}/pyvenv.cfg").st_mtime_ns == before


def test_what_was_made_needs_neither_uv_nor_a_network_again(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python = make_python(folder, SIX)
    monkeypatch.setattr(pythons, "uv_program", lambda: "/nowhere/uv")
    assert make_python(folder, SIX) == python


def test_it_is_made_again_with_the_same_versions_without_a_network(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(requirements=["six<1.17"])
    python = make_python(folder, recipe)
    digest = digest_of(recipe)
    remove_build(folder, digest)
    assert not os.path.exists(python)
    assert find_build(folder, digest) is None
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    assert output(make_python(folder, recipe), "-c", "import six; print(six.__version__)") == "1.16.0"
    # What nobody chose yet is looked for in what this machine keeps, too.
    assert output(make_python(folder, SIX), "-c", "import six; print(six.__version__)") == "1.16.0"
    with pytest.raises(Unavailable, match="The environment cannot be made") as caught:
        make_python(folder, Recipe(requirements=["zope.deferredimport==4.4"]))
    assert caught.value.detail


def test_a_maker_that_is_killed_leaves_nothing_that_is_used(folder: str) -> None:
    digest = digest_of(SIX)
    for wait in (0.25, 0.3, 0.35, 0.4, 0.45):
        maker = start(folder, "six==1.16.0", UV_LINK_MODE="copy")
        time.sleep(wait)
        maker.send_signal(signal.SIGKILL)
        maker.communicate()
        build = find_build(folder, digest)
        assert build is None or build.packages == ["six==1.16.0"]
        remove_build(folder, digest)
    (Path(folder) / digest / "bin").mkdir(parents=True)
    (Path(folder) / digest / "bin" / "python").write_text("half")
    assert output(make_python(folder, SIX), "-c", "import six; print(six.__version__)") == "1.16.0"


def test_who_asks_while_a_killed_makers_uv_still_writes_waits_for_it(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is inherited by uv, so that nobody begins anew in the folder in which it still works."""
    real, slow = pythons.uv_program(), tmp_path / "uv"
    slow.write_text(f'#!/bin/sh\n[ "$1" = venv ] && touch {tmp_path}/begun && sleep 1.5\nexec {real} "$@"\n')
    slow.chmod(0o755)
    code = f"from jupyter_modelreg import pythons; pythons.uv_program = lambda: {str(slow)!r}; " + _MAKES
    maker = subprocess.Popen([sys.executable, "-c", code, folder, "six==1.16.0"])
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    maker.kill()
    maker.wait()
    started = time.monotonic()
    assert output(make_python(folder, SIX), "-c", "import six; print(six.__version__)") == "1.16.0"
    assert time.monotonic() - started > 1


def test_what_cannot_be_resolved_is_one_line_with_the_resolvers_own_words(folder: str) -> None:
    with pytest.raises(
        Unavailable, match=r"^The environment cannot be made: Because there is no version of six==0.0.77 and you require"
    ) as caught:
        make_python(folder, Recipe(requirements=["six==0.0.77"]))
    assert "\n" not in caught.value.message
    assert "six==0.0.77" in caught.value.detail
    assert [item.name for item in os.scandir(folder) if item.is_dir()] == []
    assert list_builds(folder) == []


def test_a_python_that_nobody_has_is_said(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    with pytest.raises(Unavailable, match=r"The environment cannot be made, Python 3.99: No interpreter found for Python 3.99"):
        make_python(folder, Recipe(python="3.99"))


def test_an_environment_whose_python_is_gone_is_made_anew(folder: str) -> None:
    python = make_python(folder, SIX)
    os.unlink(python)
    os.symlink("/nowhere/python", python)
    assert find_build(folder, digest_of(SIX)) is None
    assert output(make_python(folder, SIX), "-c", "print(1)") == "1"


def test_without_uv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match=r'needs uv: pip install "jupyter-modelreg\[environments\]"'):
        make_python(str(tmp_path / "environments"), SIX)
    assert not (tmp_path / "environments").exists()


def test_a_folder_that_cannot_be_written_is_said(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match=r"file/environments cannot be written"):
        make_python(str(tmp_path / "file" / "environments"), SIX)


# --- what only conda has ------------------------------------------------------------------------------------------------


def test_what_only_conda_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "micromamba", lambda: None)
    recipe = Recipe(requirements=["six"], foreign=["cudatoolkit", "gcc"])
    with pytest.raises(
        Unavailable, match='PyPI does not have "cudatoolkit", "gcc" of the conda file; micromamba would install them and is not there'
    ):
        make_python(str(tmp_path), recipe, {"dependencies": ["cudatoolkit", "gcc", "six"]})


def test_micromamba_makes_what_only_conda_has_where_it_is_installed(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for micromamba, which this machine lacks: it notes what it was asked and makes an empty environment."""
    program = tmp_path / "bin" / "micromamba"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncp "$7" {tmp_path}/file.yml\nexec {pythons.uv_program()} venv --quiet --python {sys.executable} "$5"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    conda = {"channels": ["conda-forge"], "dependencies": ["python=3.8", "gcc", {"pip": ["six"]}]}
    recipe = Recipe(python="3.8", foreign=["gcc"], requirements=["six"])
    python = make_python(folder, recipe, conda)
    assert output(python, "-c", "print(1)") == "1"
    place = os.path.join(folder, digest_of(recipe, conda))
    assert (tmp_path / "asked").read_text().startswith(f"create --yes --quiet --prefix {place} --file ")
    kernel = f"3.{sys.version_info[1]}"
    assert (tmp_path / "file.yml").read_text() == (f"channels:\n- conda-forge\ndependencies:\n- python={kernel}\n- gcc\n- pip:\n  - six\n")


# --- what the worker needs itself ---------------------------------------------------------------------------------------


def test_an_environments_own_packages_win_over_what_the_worker_needs(folder: str) -> None:
    python = make_python(folder, Recipe(requirements=["packaging==23.0"]))
    place = support.support_path(folder, python, f"3.{sys.version_info[1]}", has_script=True)
    environment = PythonEnvironment(python=python, path=[place])
    code = "import json, httptools, numpy, packaging, jupyter_modelreg; print(json.dumps([packaging.__version__, numpy.__version__, jupyter_modelreg.__file__]))"
    Path(folder, "asks.py").write_text(f"import sys\nsys.path += {[place]!r}\n{code}")
    import numpy as np

    packaging, found, package = json.loads(output(python, f"{folder}/asks.py"))
    assert (packaging, found) == ("23.0", np.__version__)
    assert package.startswith(place)
    helped = subprocess.run([*environment.command("jupyter_modelreg"), "--version"], capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("modelreg ")
    assert support.support_path(folder, python, f"3.{sys.version_info[1]}", has_script=True) == place


def test_a_script_finds_nothing_that_only_our_own_loading_needs(folder: str) -> None:
    python = make_python(folder, SIX)
    for has_script, found in ((True, "False"), (False, "True")):
        place = support.support_path(folder, python, f"3.{sys.version_info[1]}", has_script=has_script)
        code = f"import sys; sys.path.append({place!r}); import httptools, numpy, importlib.util as u; print(u.find_spec('pandas') is not None)"
        assert output(python, "-c", code) == found


def test_a_model_that_was_fitted_on_no_table_finds_no_pandas(folder: str) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    places = [support.support_path(folder, sys.executable, minor, has_script=False, has_tables=has_tables) for has_tables in (True, False)]
    assert [os.path.exists(f"{place}/skops") for place in places] == [True, True]
    assert [os.path.exists(f"{place}/pandas") for place in places] == [True, False]


def test_what_the_worker_needs_is_made_anew_after_a_kill(folder: str) -> None:
    python, minor = make_python(folder, SIX), f"3.{sys.version_info[1]}"
    place = Path(support.support_path(folder, python, minor, has_script=True))
    (place / "modelreg.json").unlink()
    (place / "httptools").unlink()
    (place / "httptools").mkdir()
    assert support.support_path(folder, python, minor, has_script=True) == str(place)
    assert (place / "httptools").is_symlink()


def test_another_version_of_python_gets_what_the_worker_needs_from_the_index(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
    for place in Path(os.path.expanduser("~/.pyenv/versions")).glob("3.*/bin"):
        monkeypatch.setenv("PATH", f"{place}{os.pathsep}{os.environ['PATH']}")
    others = [f"3.{minor}" for minor in range(11, 15) if minor != sys.version_info[1]]
    find = [pythons.uv_program(), "python", "find", "--no-project"]
    minor = next((one for one in others if subprocess.run([*find, one], capture_output=True, check=False).returncode == 0), None)
    if minor is None:
        pytest.skip(f"there is no Python but {sys.version_info[0]}.{sys.version_info[1]} on this machine")
    python = make_python(folder, Recipe(python=minor, requirements=["six==1.16.0"]))
    environment = PythonEnvironment(python=python, path=[support.support_path(folder, python, minor, has_script=True)])
    helped = subprocess.run([*environment.command("jupyter_modelreg"), "--version"], capture_output=True, text=True, check=True)
    assert helped.stdout.startswith("modelreg ")
    code = f"import sys; sys.path += {environment.path!r}; import numpy, httptools, orjson; print(*sys.version_info[:2], sep='.')"
    assert output(python, "-c", code) == minor


def test_an_environment_is_not_led_to_anothers_packages() -> None:
    environment = PythonEnvironment(python="/env/bin/python", path=["/support"])
    given = {"PYTHONPATH": "/mine", "PYTHONHOME": "/other", "PATH": "/usr/bin", "HOME": "/me"}
    assert environment.variables(given) == {"PATH": f"/env/bin{os.pathsep}/usr/bin", "HOME": "/me", "VIRTUAL_ENV": "/env"}
    assert PythonEnvironment(python=sys.executable).variables(given) == given
