"""Settings: one small record; first found wins: explicit argument, ``MODELREG_*``, nearest ``modelreg.toml``, default.

They are no traitlets, since kernel, server and shell must see the same home; the magics and the server extension
expose traits and pass them on as arguments.
"""

from __future__ import annotations

import os

from .errors import InvalidInput, nearest
from .records import Record, field, fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Settings(Record):
    """Where things lie and who is asking. With nothing set everything works, under the user's data folder."""

    home: str = field(default="", help="Folder of everything that is kept on this machine.")
    catalog: str = field(default="", help="Database of names and versions; a path, by default HOME/catalog.sqlite.")
    store: str = field(
        default="", help="Where files are kept; a folder or an fsspec URL such as s3://bucket/prefix, by default HOME/store."
    )
    workspace: str = field(default="local", help="Name shown where Azure ML shows a workspace's name.")
    user: str = field(default="", help="Name written beside what you create; by default your login name.")


_PATHS = ("home", "catalog", "store")


def load_settings(explicit: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Return the settings and, for each, where its value came from.

    A relative path in ``modelreg.toml`` counts from the file's folder, any other from the current one.

    Raises
    ------
    InvalidInput
        If ``modelreg.toml`` cannot be read, or there is no such setting.
    """
    found: dict[str, str] = {}
    origin: dict[str, str] = {}
    _check_known(explicit or {}, "")
    layers = (
        ("argument", _with_full_paths(explicit or {}, "")),
        ("environment", _with_full_paths(_from_environment(), "")),
        _from_file(),
        ("default", _defaults),
    )
    for source, values in layers:
        for name in [item.name for item in fields(Settings) if item.name not in found]:
            value = values(name, found) if callable(values) else values.get(name)
            if value:
                found[name], origin[name] = value, f"MODELREG_{name.upper()}" if source == "environment" else source
    return Settings(**found), origin


def _from_environment() -> dict[str, str]:
    return {item.name: value for item in fields(Settings) if (value := os.environ.get(f"MODELREG_{item.name.upper()}"))}


def _from_file() -> tuple[str, dict[str, str]]:
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it was removed under our feet
        return "file", {}
    while True:
        path = os.path.join(folder, "modelreg.toml")
        if os.path.isfile(path):
            return path, _with_full_paths(_read_file(path), folder)
        parent = os.path.dirname(folder)
        if parent == folder:
            return "file", {}
        folder = parent


def _read_file(path: str) -> dict[str, str]:
    import tomllib

    try:
        with open(path, "rb") as stream:
            values = tomllib.load(stream)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise InvalidInput(f"{path} is no TOML: {error}.") from None
    _check_known(values, f"{path}: ")
    for key, value in values.items():
        if not isinstance(value, str):
            raise InvalidInput(f'{path}: "{key}" must be text in quotes.', key=key)
    return values


def _check_known(values: Mapping[str, object], where: str) -> None:
    known = [item.name for item in fields(Settings)]
    for key in values:
        if key not in known:
            raise InvalidInput(f'{where}unknown setting "{key}".{nearest(key, known)} Known: {", ".join(known)}.', key=key)


def _with_full_paths(values: Mapping[str, str], folder: str) -> dict[str, str]:
    """Make paths absolute, since kernel, server and shell run in different folders."""
    return {
        key: os.path.abspath(os.path.join(folder, os.path.expanduser(value))) if key in _PATHS and value and "://" not in value else value
        for key, value in values.items()
    }


def _defaults(name: str, found: dict[str, str]) -> str:
    if name == "home":
        return _data_folder()
    if name in ("catalog", "store"):
        return os.path.join(found["home"], "catalog.sqlite" if name == "catalog" else "store")
    if name == "user":
        return _login_name()
    return str(Settings._fields[name].default)


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run under a number that has no name
        return str(os.getuid())


def _data_folder() -> str:
    if os.name == "posix" and os.uname().sysname != "Darwin":
        # What platformdirs answers on Linux; it costs 15 ms to ask it.
        base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        return os.path.join(base, "jupyter_modelreg")
    import platformdirs

    return platformdirs.user_data_dir("jupyter_modelreg", appauthor=False)
