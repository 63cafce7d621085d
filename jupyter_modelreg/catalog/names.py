"""What may be a name, a version, a tag. ``list`` never needs to know."""

from __future__ import annotations

from ..errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..entities.environment import Environment
    from ..entities.model import Model

MAX_NAME = 255
MAX_DIGITS = 18  # of a number; SQLite's own numbers end behind the nineteenth
MAX_TAG_KEY = 256
MAX_TAG_VALUE = 65_536
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_RULE = "letters, digits, dots, dashes and underscores, a letter or digit first, at most 255."


def check_model(model: Model) -> None:
    """Check a model's name, version and tags, before anything is copied for it.

    Raises
    ------
    InvalidInput
        If one of them is not allowed.
    """
    _check_named(model, "a model")
    for key in model.metrics:
        check_tag(key, "")
    check_stage(model.stage)


def check_environment(environment: Environment) -> None:
    """Check an environment's name, version and tags.

    Raises
    ------
    InvalidInput
        If one of them is not allowed.
    """
    _check_named(environment, "an environment")


def _check_named(entity: Model | Environment, what: str) -> None:
    check_name(entity.name, what)
    check_version(entity.version)
    for key, value in entity.tags.items():
        check_tag(key, value)


def check_stage(stage: str | None) -> str | None:
    """Return the stage of a version if it is short enough to be found by.

    Raises
    ------
    InvalidInput
        If it is too long.
    """
    if stage and len(stage) > MAX_TAG_KEY:
        raise InvalidInput(f'"{_shortened(stage)}" is no stage: at most {MAX_TAG_KEY} characters.', key="stage")
    return stage


def check_name(name: str | None, what: str) -> str:
    """Return the name of an asset if it is one.

    Source: Azure ML: ``^[a-zA-Z0-9][a-zA-Z0-9\\-_]{0,254}$``, with dots as its registries have them.

    Raises
    ------
    InvalidInput
        If it has other characters, is too long, or is a device's name on Windows.
    """
    text = name or ""
    is_plain = text.isascii() and all(char.isalnum() or char in "-_." for char in text)
    is_name = is_plain and text[:1].isalnum() and ".." not in text and not text.endswith(".") and len(text) <= MAX_NAME
    if not is_name or text.split(".")[0].lower() in _RESERVED:
        raise InvalidInput(f'"{_shortened(text)}" is no name of {what}: {_RULE}', key="name")
    return text


def check_version(version: str | None) -> str | None:
    """Return the version if it may be one; None stands for the next number.

    Raises
    ------
    InvalidInput
        If it is ``latest``, which is a label, or has characters that a reference could not hold.
    """
    if version is None:
        return None
    if version.lower() == "latest":
        raise InvalidInput(
            '"latest" is the label of the newest version and cannot be a version. Leave the version out for the next number.', key="version"
        )
    is_plain = version.isascii() and all(char.isalnum() or char in "-_." for char in version)
    if not (is_plain and version[:1].isalnum() and len(version) <= 64):
        raise InvalidInput(
            f'"{_shortened(version)}" is no version: letters, digits, dots, dashes and underscores, at most 64.', key="version"
        )
    if version.isdigit() and len(version) > MAX_DIGITS:
        raise InvalidInput(f'"{version}" is too large a number for a version; it may have {MAX_DIGITS} digits.', key="version")
    return version


def check_tag(key: str, value: str) -> tuple[str, str]:
    """Return a tag whose parts are printable text of bearable length.

    Raises
    ------
    InvalidInput
        If the key is empty, has control characters or "=", or either is too long.
    """
    text = str(value)
    if not key or len(key) > MAX_TAG_KEY or any(ord(char) < 32 for char in key) or "=" in key:
        raise InvalidInput(
            f'"{_shortened(key)}" is no key of a tag: printable text without "=", at most {MAX_TAG_KEY} characters.', key="tags"
        )
    if len(text) > MAX_TAG_VALUE or "\0" in text:
        raise InvalidInput(f'The value of tag "{_shortened(key)}" is too long or holds a zero byte.', key=f"tags.{key}")
    return key, text


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
