"""Where packages come from: what pip is told, said to uv, which does not read pip's settings.

Source: pip, "Configuration"; uv, "Environment variables".
"""

from __future__ import annotations

import os
import sys
from configparser import ConfigParser, Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MACHINE = "/etc"
# pip's keys -> uv's variables.
_VARIABLES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
# Whoever set one of these has told uv itself.
_OWN = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


def uv_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables by which uv asks where pip would ask; none where uv has settings of its own.

    What a variable such as ``PIP_INDEX_URL`` says counts before what a file says, the user's file before the machine's.
    """
    if any(environ.get(name) for name in _OWN) or any(map(_has_index, _uv_files(environ))):
        return {}
    said = _pip_settings(environ)
    found = {_VARIABLES[key]: value for key, value in said.items() if key in _VARIABLES and value}
    if "UV_INDEX" in found:  # pip takes the best of all indexes
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if not environ.get(name)}


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    said: dict[str, str] = {}
    if environ.get("PIP_CONFIG_FILE") != os.devnull:
        for path in _pip_files(environ):
            said |= _section(path, "global") | _section(path, "install")
    for key in _VARIABLES:
        value = environ.get(f"PIP_{key.upper().replace('-', '_')}")
        if value is not None:
            said[key] = " ".join(value.split())
    return said


def _pip_files(environ: Mapping[str, str]) -> list[str]:
    """Return pip's files, those that count less first."""
    home = environ.get("HOME") or os.path.expanduser("~")
    places = [os.path.join(place, "pip", "pip.conf") for place in environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)]
    if sys.platform == "darwin":
        places = ["/Library/Application Support/pip/pip.conf"]
    user = [os.path.join(home, ".pip", "pip.conf"), os.path.join(_config_home(environ, home), "pip", "pip.conf")]
    if sys.platform == "darwin":
        user.append(os.path.join(home, "Library", "Application Support", "pip", "pip.conf"))
    own = environ.get("PIP_CONFIG_FILE")
    return [*places, os.path.join(MACHINE, "pip.conf"), *user, os.path.join(sys.prefix, "pip.conf"), *([own] if own else [])]


def _uv_files(environ: Mapping[str, str]) -> list[str]:
    home = environ.get("HOME") or os.path.expanduser("~")
    return [os.path.join(MACHINE, "uv", "uv.toml"), os.path.join(_config_home(environ, home), "uv", "uv.toml")]


def _config_home(environ: Mapping[str, str], home: str) -> str:
    return environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config")


def _has_index(path: str) -> bool:
    import tomllib

    try:
        with open(path, "rb") as stream:
            said = tomllib.load(stream)
    except (OSError, ValueError):
        return False  # uv itself says what is wrong with it
    said = {**said, **said.get("pip", {})}
    return any(key in said for key in ("index", "index-url", "extra-index-url", "find-links"))


def _section(path: str, name: str) -> dict[str, str]:
    """Return one section of a file of pip's; several values of a key stand on lines of their own. Empty when it cannot be read."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (Error, OSError, UnicodeDecodeError):
        return {}  # pip itself says what is wrong with it
    return {key.replace("_", "-"): " ".join(value.split()) for key, value in parser.items(name)} if parser.has_section(name) else {}
