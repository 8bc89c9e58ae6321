"""Log lines, as text for people or as JSON for programs; each names the request that it is about.

A line's own fields are given as `extra=fields(name=value, …)`. Whoever serves a request sets REQUEST_ID, and
every line that is logged on its behalf has it, in whichever module.
"""

import json
import logging
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, TextIO

TEXT, JSON = "text", "json"

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that this task serves."""

_FIELDS = "constantinople_fields"
_NOISY = ("httpx", "httpcore", "websockets", "botocore", "urllib3", "uvicorn.error")


def set_up_logs(level: str = "INFO", form: str = TEXT, stream: TextIO | None = None) -> None:
    """Send records of `level` and above to standard error, or to `stream`, one line each."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == JSON else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def fields(**named: Any) -> Mapping[str, Any]:
    """What a line says besides its words, as `extra`; a field that is None is left out."""
    return {_FIELDS: {name: value for name, value in named.items() if value is not None}}


def _fields_of(record: logging.LogRecord) -> dict[str, Any]:
    own: dict[str, Any] = getattr(record, _FIELDS, {})
    request_id = REQUEST_ID.get()
    return own if request_id is None or "request_id" in own else {**own, "request_id": request_id}


class TextLines(logging.Formatter):
    """Time, level, subject, words, then fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line without a traceback."""
        line = super().formatMessage(record)
        named = " ".join(f"{name}={_word(value)}" for name, value in _fields_of(record).items())
        return f"{line} {named}" if named else line


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` in UTC, `level`, `logger`, `message`, the fields, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _word(value: Any) -> str:
    text = str(value)
    return text if text and " " not in text else json.dumps(text)
