"""uv asks where pip would ask."""

from __future__ import annotations

import functools
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from jupyter_modelreg.pythons import indexes, make_python
from jupyter_modelreg.pythons.conda import Recipe
from jupyter_modelreg.pythons.indexes import uv_variables


@pytest.fixture
def home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment whose home is empty and whose machine has no settings."""
    monkeypatch.setattr(indexes, "MACHINE", str(tmp_path / "none"))
    return {"HOME": str(tmp_path), "XDG_CONFIG_DIRS": str(tmp_path / "none"), "PIP_CONFIG_FILE": str(tmp_path / "pip.conf")}


def test_a_file_of_pips_is_said_in_uvs_words(home_folder: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one/simple\ntrusted-host =\n    a\n    b:8443\ncert = /ca.pem\nfind-links = /wheels\ntimeout = 3\n"
        "[install]\nextra_index_url = https://two/simple https://three/simple\n"
    )
    assert uv_variables(home_folder) == {
        "UV_DEFAULT_INDEX": "https://one/simple",
        "UV_INDEX": "https://two/simple https://three/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_INSECURE_HOST": "a b:8443",
        "UV_FIND_LINKS": "/wheels",
        "SSL_CERT_FILE": "/ca.pem",
    }


def test_a_variable_counts_before_a_file_and_the_users_file_before_the_machines(home_folder: dict[str, str], tmp_path: Path) -> None:
    place = tmp_path / ".config" / "pip"
    place.mkdir(parents=True)
    (place / "pip.conf").write_text("[global]\nindex-url = https://user/simple\n")
    del home_folder["PIP_CONFIG_FILE"]
    assert uv_variables(home_folder)["UV_DEFAULT_INDEX"] == "https://user/simple"
    assert uv_variables({**home_folder, "PIP_INDEX_URL": "https://said/simple"})["UV_DEFAULT_INDEX"] == "https://said/simple"


@pytest.mark.parametrize("said", [{"UV_DEFAULT_INDEX": "https://mine"}, {"UV_INDEX_URL": "https://mine"}, {"UV_CONFIG_FILE": "/uv.toml"}])
def test_who_told_uv_itself_is_not_overruled(home_folder: dict[str, str], tmp_path: Path, said: dict[str, str]) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://one/simple\n")
    assert uv_variables({**home_folder, **said}) == {}


@pytest.mark.parametrize("said", ['[[index]]\nurl = "https://mine"\n', '[pip]\nindex-url = "https://mine"\n'])
def test_a_file_of_uvs_counts_too(home_folder: dict[str, str], tmp_path: Path, said: str) -> None:
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://one/simple\n")
    (tmp_path / ".config" / "uv").mkdir(parents=True)
    (tmp_path / ".config" / "uv" / "uv.toml").write_text(said)
    assert uv_variables(home_folder) == {}


@pytest.mark.parametrize("text", ["", "no section\n", "[global]\n", "[other]\nindex-url = x\n", "[global]\nindex-url\n", "\x00\xff"])
def test_a_file_without_a_word_of_it_says_nothing(home_folder: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "pip.conf").write_text(text, encoding="latin-1")
    assert uv_variables(home_folder) == {}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index on this machine with one package that no other has."""
    place = tmp_path / "index" / "only-here-zqx"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "only_here_zqx-1.0-py3-none-any.whl", "w") as wheel:
        about = "only_here_zqx-1.0.dist-info"
        wheel.writestr("only_here_zqx.py", "here = True\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: only-here-zqx\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"only_here_zqx.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "index")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    server.server_close()


def test_an_environment_is_made_of_packages_from_pips_index(
    folder: str, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    python = make_python(folder, Recipe(requirements=["only-here-zqx==1.0"]), None)
    assert list(Path(python).parents[1].rglob("only_here_zqx.py"))
