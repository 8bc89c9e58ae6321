import io
import json
import logging
from collections.abc import Iterator

import pytest

from shared.logs import JSON, REQUEST_ID, TEXT, fields, set_up_logs

log = logging.getLogger("test.logs")


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(form: str, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    set_up_logs(level, form, stream)
    return stream


def test_a_text_line_has_time_level_subject_words_and_fields() -> None:
    stream = logged(TEXT)
    log.info("miner %d went", 3, extra=fields(uid=3, why="no answer", empty="", nothing=None))
    line = stream.getvalue()
    assert line.endswith(' INFO    test.logs: miner 3 went uid=3 why="no answer" empty=""\n')
    assert line[4] == line[7] == "-"


def test_a_json_line_is_one_object_with_the_fields_beside_the_words() -> None:
    stream = logged(JSON)
    log.warning("miner %d went", 3, extra=fields(uid=3, why="no answer", nothing=None))
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "WARNING",
        "logger": "test.logs",
        "message": "miner 3 went",
        "uid": 3,
        "why": "no answer",
    }


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_every_line_of_a_request_names_it(form: str) -> None:
    stream = logged(form)
    token = REQUEST_ID.set("abc123")
    try:
        log.info("during")
    finally:
        REQUEST_ID.reset(token)
    log.info("after")
    during, after = stream.getvalue().splitlines()
    assert "abc123" in during
    assert "abc123" not in after


def test_a_line_about_another_request_keeps_its_id() -> None:
    stream = logged(JSON)
    token = REQUEST_ID.set("mine")
    try:
        log.info("of another", extra=fields(request_id="other"))
    finally:
        REQUEST_ID.reset(token)
    assert json.loads(stream.getvalue())["request_id"] == "other"


@pytest.mark.parametrize("form", [TEXT, JSON])
def test_what_a_stranger_says_makes_no_second_line(form: str) -> None:
    stream = logged(form)
    log.info("said", extra=fields(word="a\nERROR forged: line\r\x1b[2J"))
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_a_traceback_stays_within_its_json_line() -> None:
    stream = logged(JSON)
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("it failed")
    line = json.loads(stream.getvalue())
    assert line["message"] == "it failed"
    assert "ValueError: broken" in line["exception"]


def test_lines_below_the_level_are_left_out() -> None:
    stream = logged(TEXT, "WARNING")
    log.info("not this")
    log.warning("this")
    assert "not this" not in stream.getvalue()
    assert "this" in stream.getvalue()
