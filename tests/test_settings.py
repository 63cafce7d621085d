"""Settings: the first that is found wins, and kernel, server and shell see the same."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jupyter_modelreg.commands.workspace import ShowSettings
from jupyter_modelreg.errors import InvalidInput
from jupyter_modelreg.installation import list_settings
from jupyter_modelreg.settings import Settings, hide_password, load_settings, parse_size
from jupyter_modelreg.workspace import open_workspace


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is set; the user's home is a fresh folder."""
    for name in list(os.environ):
        if name.startswith(("MODELREG_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_with_nothing_set_everything_lies_in_the_users_data_folder(bare: Path) -> None:
    settings, origin = load_settings()
    assert settings.home == str(bare / ".local/share/jupyter_modelreg")
    assert settings.catalog == f"{settings.home}/catalog.sqlite"
    assert settings.store == f"{settings.home}/store"
    assert settings.workspace == "local"
    assert settings.user
    assert set(origin.values()) == {"default"}


def test_argument_before_environment_before_file_before_default(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "modelreg.toml").write_text('home = "from-file"\nuser = "from-file"\nworkspace = "from-file"\n')
    monkeypatch.setenv("MODELREG_USER", "from-environment")
    monkeypatch.setenv("MODELREG_WORKSPACE", "from-environment")
    settings, origin = load_settings({"workspace": "from-argument", "catalog": ""})
    assert (settings.home, settings.user, settings.workspace) == (str(bare / "from-file"), "from-environment", "from-argument")
    assert settings.catalog == str(bare / "from-file" / "catalog.sqlite")
    assert origin.pop("home") == str(bare / "modelreg.toml")
    assert (origin.pop("workspace"), origin.pop("user")) == ("argument", "MODELREG_USER")
    assert set(origin.values()) == {"default"}
    assert "store" in origin


def test_a_file_counts_in_every_folder_below_it_and_its_paths_count_from_it(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "project" / "deep").mkdir(parents=True)
    (bare / "project" / "modelreg.toml").write_text('home = "registry"\nstore = "~/store"\n')
    monkeypatch.chdir(bare / "project" / "deep")
    settings, _ = load_settings()
    assert settings.home == str(bare / "project" / "registry")
    assert settings.store == str(bare / "store")


def test_a_path_stays_the_same_when_the_folder_changes(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELREG_HOME", "registry")
    monkeypatch.setenv("MODELREG_CATALOG", "~/c.sqlite")
    workspace = open_workspace()
    (bare / "elsewhere").mkdir()
    monkeypatch.chdir(bare / "elsewhere")
    assert workspace.home == str(bare / "registry")
    assert workspace.settings.catalog == str(bare / "c.sqlite")


def test_a_url_is_no_path(bare: Path) -> None:
    assert load_settings({"store": "s3://bucket/x"})[0].store == "s3://bucket/x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hom = "x"', r'unknown setting "hom"\. Did you mean "home"\? Known: home, catalog, store, workspace, user'),
        ('durability = "ful"', r'durability is "ful"; it must be one of full, relaxed\. Did you mean "full"'),
        ('quota = "much"', r'quota: "much" is no size; write 20 GB'),
        ("home = 3", '"home" must be text in quotes'),
        ("home = ", r"is no TOML: Invalid value"),
        ("\xff", "is no TOML"),
    ],
)
def test_a_file_that_is_wrong_says_where_and_how(bare: Path, text: str, said: str) -> None:
    (bare / "modelreg.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInput, match=f"^{bare / 'modelreg.toml'}.*{said}"):
        load_settings()


def test_an_argument_that_is_no_setting_is_refused(bare: Path) -> None:
    with pytest.raises(InvalidInput, match='unknown setting "hoem"'):
        open_workspace({"hoem": "x"})


def test_a_user_without_a_name_has_a_number(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    assert load_settings()[0].user == str(os.getuid())


def test_a_folder_that_was_removed_under_our_feet_is_no_error(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "gone").mkdir()
    monkeypatch.chdir(bare / "gone")
    (bare / "gone").rmdir()
    assert load_settings()[0].home == str(bare / ".local/share/jupyter_modelreg")


def test_settings_are_shown_with_where_they_came_from(home: Path) -> None:
    shown = {item.name: item for item in list_settings(open_workspace(), ShowSettings())}
    assert (shown["home"].value, shown["home"].source) == (str(home), "MODELREG_HOME")
    assert list(shown) == list(Settings._fields)
    assert all(item.help for item in shown.values())


@pytest.mark.parametrize(
    ("text", "size"), [("1000", 1000), ("20 GB", 20 * 10**9), ("1.5MiB", 3 << 19), ("2 tb", 2 * 10**12), (" 7 B ", 7), ("1 KiB", 1024)]
)
def test_a_size_is_read_with_its_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1 PB", "1e3", "20 GB GB", "nan", "\u0661 GB", "1..5 GB", "1 G B", "9" * 400])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="no size"):
        parse_size(text)


def test_url_is_another_name_of_the_catalog(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "modelreg.toml").write_text('url = "postgresql://team@db/models"\n')
    assert load_settings()[0].catalog == "postgresql://team@db/models"
    monkeypatch.setenv("MODELREG_URL", "c.sqlite")
    assert load_settings()[0].catalog == str(bare / "c.sqlite")
    assert load_settings({"url": "postgresql://other/x"})[0].catalog == "postgresql://other/x"


def test_a_password_in_a_url_is_not_shown() -> None:
    for url in ("postgresql://u:a/b@c@h/x", "postgresql://u@h/x?password=a%2Fb&sslmode=require", "s3://key:a/b@h/bucket"):
        assert "a/b" not in hide_password(url).replace("%2F", "/")
        assert "***" in hide_password(url)
    assert hide_password("postgresql://ada@h/x") == "postgresql://ada@h/x"
    assert hide_password("/home/a:b@c/x") == "/home/a:b@c/x"
