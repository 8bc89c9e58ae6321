"""Log lines, as text for people or as JSON for programs; each names the request that it is about.

A line's own fields are given as `extra=fields(name=value, …)`. Whoever serves a request sets REQUEST_ID, and
every line that is logged on its behalf has it, in whichever module.
"""

import logging
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, TextIO

import orjson

TEXT, JSON = "text", "json"

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The request that this task serves."""

_FIELDS = "constantinople_fields"
_NOISY = ("httpx", "httpcore", "websockets", "botocore", "urllib3", "uvicorn.error")


def set_up_logs(level: str = "INFO", form: str = TEXT, stream: TextIO | None = None) -> None:
    """Send records of `level` and above to standard error, or to `stream`, one line each."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines() if form == JSON else TextLines())
    # No line says these, and finding them out takes a third of what a line costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
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

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        """Local time, to the millisecond."""
        return f"{_local_second(int(record.created))},{int(record.msecs):03d}"

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line without a traceback."""
        line = f"{self.formatTime(record)} {record.levelname:7} {record.name}: {record.message}"
        named = " ".join([f"{name}={_word(value)}" for name, value in _fields_of(record).items()])
        return f"{line} {named}" if named else line


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` in UTC, `level`, `logger`, `message`, the fields, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": f"{_utc_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


@lru_cache(maxsize=2)
def _local_second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(unix_s))


@lru_cache(maxsize=2)
def _utc_second(unix_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(unix_s))


def _word(value: Any) -> str:
    text = str(value)
    if type(value) is float or text.isalnum():
        return text
    return text if text.isprintable() and text and " " not in text else orjson.dumps(text).decode()
