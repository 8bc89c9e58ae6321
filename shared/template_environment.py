"""The Jinja environment in which chat templates run, as in `transformers/utils/chat_template_utils.py`.

Written again because importing transformers brings torch: 400 MB and ten seconds that a gateway does without.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import jinja2
from jinja2 import ext, nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_KEPT_TEMPLATES = 16
"""A model has one or two."""


class _Generation(ext.Extension):
    """`{% generation %}…{% endgeneration %}`, which marks the assistant's words for training."""

    tags = {"generation"}  # noqa: RUF012  jinja declares it so

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body).set_lineno(line)


def template_environment() -> ImmutableSandboxedEnvironment:
    """A new environment with the filters and functions that templates rely on."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


@lru_cache(_KEPT_TEMPLATES)
def compiled_template(text: str) -> jinja2.Template:
    """A template that can be rendered.

    Raises:
        jinja2.TemplateError: it is no valid Jinja.
    """
    return template_environment().from_string(text)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    item, key = separators or (None, None)
    pair = None if item is None or key is None else (item, key)
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
