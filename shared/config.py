"""Settings: flags > environment (CONSTANTINOPLE_…) > .env > defaults, declared once as a frozen dataclass.

A process declares

    @dataclass(frozen=True)
    class GatewayConfig:
        port: int = setting(8081, "port to listen on", check=is_port)

and reads it with `load(GatewayConfig, "what the process does")`. This module imports nothing heavy, so
`--help` answers at once.
"""

import argparse
import dataclasses
import os
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from shared.errors import ConfigError

ENVIRONMENT_PREFIX = "CONSTANTINOPLE_"
DOTENV_FILE = ".env"

Config = TypeVar("Config")
Check = Callable[[Any], str | None]
"""Returns what is allowed, in words, when a value is not; None when it is."""

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}


def setting(default: Any, help_text: str, check: Check | None = None) -> Any:
    """A field of a config dataclass: its default, its help, and what values are allowed."""
    return dataclasses.field(default=default, metadata={"help": help_text, "check": check})


def is_port(value: int) -> str | None:
    """Check: a TCP port; 0 lets the system choose."""
    return None if 0 <= value <= 65535 else "a port is a whole number from 0 to 65535"


def at_least(minimum: float) -> Check:
    """Check: a number not below `minimum`."""
    return lambda value: None if value >= minimum else f"it must be at least {minimum:g}"


def between(low: float, high: float) -> Check:
    """Check: a number from `low` to `high`."""
    return lambda value: None if low <= value <= high else f"it must be from {low:g} to {high:g}"


def one_of(*allowed: str) -> Check:
    """Check: one of these words."""
    return lambda value: None if value in allowed else f"it must be one of {', '.join(allowed)}"


def _flag(name: str) -> str:
    """A field named like a keyword of Python ends with an underscore, as usual: `from_` is --from."""
    return "--" + name.rstrip("_").replace("_", "-")


def environment_name(name: str) -> str:
    """The environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.rstrip("_").upper()


def _inner_type(kind: Any) -> Any:
    """int for `int | None`, the type itself otherwise."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return next(part for part in typing.get_args(kind) if part is not type(None))
    return kind


def _parse_bool(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError("it must be true or false")


def _parse(kind: Any, text: str) -> Any:
    kind = _inner_type(kind)
    if kind is bool:
        return _parse_bool(text)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(_parse(item, part.strip()) for part in text.split(",") if part.strip())
    if kind is int:
        try:
            return int(text)
        except ValueError:
            raise ValueError("it must be a whole number") from None
    if kind is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError("it must be a number") from None
    return kind(text)


def read_dotenv(file: Path) -> dict[str, str]:
    """NAME=value lines; blank lines, # comments, `export` and surrounding quotes are allowed.

    Raises:
        ConfigError: a line is something else.
    """
    values: dict[str, str] = {}
    if not file.is_file():
        return values
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        name, separator, value = text.partition("=")
        if not separator or not name.strip():
            raise ConfigError(f"{file} line {number} is not of the form NAME=value: {line!r}")
        values[name.strip()] = value.strip().strip("'\"")
    return values


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; {self.prog} --help lists what is allowed")


def _parser(config: type[Any], hints: Mapping[str, Any], description: str, prog: str | None) -> _Parser:
    parser = _Parser(prog=prog, description=description, allow_abbrev=False)
    for field in dataclasses.fields(config):
        shown = "" if field.default in (None, (), "") else f" (default: {field.default})"
        text = f"{field.metadata['help']}{shown} [{environment_name(field.name)}]".replace("%", "%%")
        if _inner_type(hints[field.name]) is bool:
            action: Any = argparse.BooleanOptionalAction
            parser.add_argument(_flag(field.name), dest=field.name, action=action, default=None, help=text)
        else:
            metavar = field.name.rstrip("_").rsplit("_", 1)[-1].upper()
            parser.add_argument(_flag(field.name), dest=field.name, default=None, metavar=metavar, help=text)
    return parser


def load_with_rest(
    config: type[Config],
    description: str,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    prog: str | None = None,
) -> tuple[Config, list[str]]:
    """Settings, and the flags that `config` does not declare, in their order.

    Raises:
        ConfigError: a value is not allowed; the message names it, its source and what is allowed.
    """
    assert dataclasses.is_dataclass(config)
    hints = typing.get_type_hints(config)
    flags, rest = _parser(config, hints, description, prog).parse_known_args(argv)
    sources = _sources(
        vars(flags),
        os.environ if environ is None else environ,
        dotenv if dotenv is not None else Path(DOTENV_FILE),
    )
    values = {field.name: _value(field, hints[field.name], sources) for field in dataclasses.fields(config)}
    return typing.cast(Config, config(**values)), rest


def load(
    config: type[Config],
    description: str,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
    prog: str | None = None,
) -> Config:
    """Settings of a process that takes no other flags.

    Raises:
        ConfigError: a flag is unknown or a value is not allowed.
    """
    loaded, rest = load_with_rest(config, description, argv, environ, dotenv, prog)
    if rest:
        raise ConfigError(f"unknown argument {rest[0]}; --help lists the flags")
    return loaded


_Lookup = Callable[[str], tuple[Any, str] | None]


def _sources(flags: Mapping[str, Any], environ: Mapping[str, str], dotenv: Path) -> list[_Lookup]:
    def from_flags(name: str) -> tuple[Any, str] | None:
        value = flags[name]
        return None if value is None else (value, f"the flag {_flag(name)}")

    def from_mapping(values: Mapping[str, str], place: str) -> _Lookup:
        def look(name: str) -> tuple[Any, str] | None:
            variable = environment_name(name)
            return (values[variable], f"{variable} in {place}") if variable in values else None

        return look

    return [
        from_flags,
        from_mapping(environ, "the environment"),
        from_mapping(read_dotenv(dotenv), str(dotenv)),
    ]


def _value(field: "dataclasses.Field[Any]", kind: Any, sources: Sequence[_Lookup]) -> Any:
    for source in sources:
        found = source(field.name)
        if found is None:
            continue
        raw, place = found
        try:
            value = raw if isinstance(raw, bool) else _parse(kind, raw)
        except ValueError as error:
            raise ConfigError(f"{place} is {raw!r}: {error}") from None
        check: Check | None = field.metadata["check"]
        complaint = check(value) if check else None
        if complaint:
            raise ConfigError(f"{place} is {raw!r}: {complaint}")
        return value
    return field.default


def exit_on_config_error(main: Callable[[], int]) -> NoReturn:
    """Run an entry point: a ConfigError becomes one sentence on standard error and exit status 2."""
    try:
        status = main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        status = 130
    raise SystemExit(status)
