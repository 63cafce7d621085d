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
    catalog: str = field(
        default="",
        help="Database of names and versions; a path, by default HOME/catalog.sqlite, or postgresql://USER@HOST/DATABASE. url means the same.",
    )
    store: str = field(
        default="", help="Where files are kept; a folder or an fsspec URL such as s3://bucket/prefix, by default HOME/store."
    )
    workspace: str = field(default="local", help="Name shown where Azure ML shows a workspace's name.")
    user: str = field(default="", help="Name written beside what you create; by default your login name.")
    durability: str = field(
        default="full",
        choices=("full", "relaxed"),
        help="full: what is registered survives a power cut; relaxed: the system may write it later, for scratch registries.",
    )
    dedup: str = field(
        default="file",
        choices=("file", "tensor"),
        help="What is kept once: a file, or each tensor of a safetensors file, so that a fine-tuned checkpoint costs what changed.",
    )
    quota: str = field(
        default="", help="Size that the store may have, such as 200 GB; registering beyond it is refused. No limit when empty."
    )
    cache_limit: str = field(
        default="20 GB", help="Size of what this machine keeps of a store elsewhere; the least recently used goes first."
    )
    mount_limit: str = field(
        default="1 GB", help="Size up to which a version that lies elsewhere is downloaded when a path to it is asked for."
    )
    environments: str = field(
        default="make",
        choices=("make", "kernel"),
        help="What a deployment with an environment runs in: make installs it with uv, kernel takes the Python that modelreg itself runs in.",
    )
    container_engine: str = field(
        default="auto",
        choices=("auto", "podman", "docker", "none"),
        help="What runs an environment's image or build context: auto is the first of Podman and Docker that answers; none takes the closest Python.",
    )
    network_catalog: str = field(
        default="refuse",
        choices=("refuse", "allow"),
        help="Whether SQLite may write on a network file system, where it can lose data; PostgreSQL is the safe way.",
    )


_PATHS = ("home", "catalog", "store")
_OTHER_NAMES = {"url": "catalog"}
_MAX_DIGITS = 20
_SIZES = ("quota", "cache_limit", "mount_limit")
_UNITS = {
    "": 1,
    "B": 1,
    **{f"{letter}{sign}B": base**power for power, letter in enumerate("KMGT", 1) for sign, base in (("", 1000), ("I", 1024))},
}


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
    explicit = _known_names(explicit or {})
    _check_known(explicit, "")
    layers = (
        ("argument", _with_full_paths(explicit, "")),
        ("environment", _with_full_paths(_from_environment(), "")),
        _from_file(),
        ("default", _defaults),
    )
    for source, values in layers:
        for name in [item.name for item in fields(Settings) if item.name not in found]:
            value = values(name, found) if callable(values) else values.get(name, "")
            if value or source == "default":
                found[name], origin[name] = value, f"MODELREG_{name.upper()}" if source == "environment" else source
                _check_value(name, value, origin[name])
    return Settings(**found), origin


def parse_size(text: str) -> int:
    """Return a size in bytes: ``20 GB``, ``512MiB``, ``1000``. Units of 1000 (KB, MB …) and of 1024 (KiB, MiB …).

    Raises
    ------
    InvalidInput
        If it is no size.
    """
    number = text.strip().rstrip("BKMGTIbkmgti ")
    unit = text.strip()[len(number) :].strip().upper()
    if not number.isascii() or not number.replace(".", "", 1).isdigit() or unit not in _UNITS or len(number) > _MAX_DIGITS:
        raise InvalidInput(f'"{text[:40]}" is no size; write 20 GB, 512 MiB or a number of bytes.')
    return int(float(number) * _UNITS[unit])


def size_text(count: int | None) -> str:
    """Return a number of bytes as people say it: 1.2 MB."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def hide_password(url: str) -> str:
    """Return a URL as it may be shown: what could be a password is ``***``, also where its signs are not escaped."""
    scheme, found, rest = url.partition("://")
    if not found:
        return url
    place, query, options = rest.partition("?")
    user, sign, host = place.rpartition("@")
    if sign and ":" in user:
        user = user.partition(":")[0] + ":***"
    shown = [
        "=".join([key, "***"]) if "pass" in key or "secret" in key else item
        for item in options.split("&")
        for key in [item.partition("=")[0]]
    ]
    return f"{scheme}://{user}{sign}{host}{query}{'&'.join(shown)}"


def _check_value(name: str, value: str, source: str) -> None:
    """Refuse a value that no part could use, and say where it came from."""
    choices = Settings._fields[name].choices
    if choices and value not in choices:
        raise InvalidInput(f'{source}: {name} is "{value}"; it must be one of {", ".join(choices)}.{nearest(value, choices)}', key=name)
    if name in _SIZES and value:
        try:
            parse_size(value)
        except InvalidInput as error:
            raise InvalidInput(f"{source}: {name}: {error.message}", key=name) from None


def _from_environment() -> dict[str, str]:
    names = [*_OTHER_NAMES, *(item.name for item in fields(Settings))]
    return dict(_known_names({name: value for name in names if (value := os.environ.get(f"MODELREG_{name.upper()}"))}))


def _known_names(values: Mapping[str, str]) -> Mapping[str, str]:
    return {_OTHER_NAMES.get(key, key): value for key, value in values.items()}


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
    values = dict(_known_names(values))
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
