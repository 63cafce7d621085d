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
    store: str = field(default="", help="Where files are kept; a path or fsspec URL, by default HOME/store.")
    workspace: str = field(default="local", help="Name shown where Azure ML shows a workspace's name.")
    user: str = field(default="", help="Name written beside what you create; by default your login name.")


def load_settings(explicit: Mapping[str, str] | None = None) -> tuple[Settings, dict[str, str]]:
    """Return the settings and, for each, where its value came from.

    Raises
    ------
    InvalidInput
        If ``modelreg.toml`` cannot be read or has an unknown key.
    """
    found: dict[str, str] = {}
    origin: dict[str, str] = {}
    layers = (
        ("argument", {key: value for key, value in (explicit or {}).items() if value}),
        ("environment", _from_environment()),
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
    folder = os.getcwd()
    while True:
        path = os.path.join(folder, "modelreg.toml")
        if os.path.isfile(path):
            return path, _read_file(path)
        parent = os.path.dirname(folder)
        if parent == folder:
            return "file", {}
        folder = parent


def _read_file(path: str) -> dict[str, str]:
    import tomllib

    try:
        with open(path, "rb") as stream:
            values = tomllib.load(stream)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"{path}: {error}") from None
    known = [item.name for item in fields(Settings)]
    for key, value in values.items():
        if key not in known:
            raise InvalidInput(f'{path}: unknown setting "{key}".{nearest(key, known)} Known: {", ".join(known)}.')
        if not isinstance(value, str):
            raise InvalidInput(f'{path}: "{key}" must be text.')
    return values


def _defaults(name: str, found: dict[str, str]) -> str:
    if name == "home":
        return _data_folder()
    if name in ("catalog", "store"):
        return os.path.join(found["home"], "catalog.sqlite" if name == "catalog" else "store")
    if name == "user":
        import getpass

        return getpass.getuser()
    return str(Settings._fields[name].default)


def _data_folder() -> str:
    if os.name == "posix" and os.uname().sysname != "Darwin":
        # What platformdirs answers on Linux; it costs 15 ms to ask it.
        base = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        return os.path.join(base, "jupyter_modelreg")
    import platformdirs

    return platformdirs.user_data_dir("jupyter_modelreg", appauthor=False)
