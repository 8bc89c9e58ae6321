"""What is told, when, and what never is; then over a real HTTP server."""

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.alert_webhook import AlertWebhook, Sender, alerting
from shared.alerts import MAX_WORDS, Alert, AlertBook, is_webhook, without_secrets
from tests.validator.scripted_http import SeenRequest, response, scripted_server

MINUTE_MS = 60_000
SENDER = Sender("auditor", "5Hotkey")


class Watched:
    """A book, what is wrong, and a clock that a test moves."""

    def __init__(self, **limits: int) -> None:
        self.book, self.now_ms = AlertBook(**limits), 0
        self.troubles: dict[str, str] = {}

    def after(self, minutes: float) -> list[Alert]:
        """What is due after so long; all of it arrives."""
        self.now_ms += round(minutes * MINUTE_MS)
        due = self.book.due(self.troubles, self.now_ms)
        for alert in due:
            self.book.delivered(alert, self.now_ms)
        return due


def subjects(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.subject, alert.state) for alert in alerts]


def test_a_trouble_is_told_once_it_lasts_and_once_more_when_it_is_over() -> None:
    watched = Watched()
    watched.troubles = {"publication": "the bucket refuses"}
    assert watched.after(0) == []
    assert subjects(watched.after(1)) == [("publication", "raised")]
    assert watched.after(60) == []
    watched.troubles = {}
    (over,) = watched.after(1)
    assert (over.state, over.since_ms) == ("cleared", 0)
    assert watched.after(1) == []


def test_a_trouble_that_passes_quickly_is_never_told() -> None:
    watched = Watched()
    watched.troubles = {"weights": "the chain is away"}
    watched.after(0)
    watched.troubles = {}
    assert watched.after(0.5) == []
    watched.troubles = {"weights": "the chain is away"}
    assert watched.after(0.5) == []


def test_other_words_about_the_same_subject_are_the_same_trouble() -> None:
    watched = Watched()
    watched.troubles = {"weights": "attempt 1 failed"}
    watched.after(0)
    watched.troubles = {"weights": "attempt 2 failed"}
    (alert,) = watched.after(1)
    assert alert.words == "attempt 2 failed"
    watched.troubles = {"weights": "attempt 3 failed"}
    assert watched.after(1) == []


def test_a_trouble_that_comes_and_goes_is_told_at_most_every_ten_minutes() -> None:
    watched = Watched()
    told = []
    for minute in range(0, 60, 2):
        watched.troubles = {} if minute % 4 else {"chain": "away"}
        told += subjects(watched.after(0)) + subjects(watched.after(1.9))
    assert told.count(("chain", "raised")) <= 6
    assert told.count(("chain", "cleared")) == told.count(("chain", "raised"))


def test_no_more_than_so_many_troubles_are_told_in_an_hour() -> None:
    watched = Watched(most_an_hour=3)
    watched.troubles = {f"subject {number}": "broken" for number in range(10)}
    watched.after(0)
    assert len(watched.after(1)) == 3
    assert watched.after(1) == []
    assert len(watched.after(61)) == 3


def test_what_did_not_arrive_is_due_again() -> None:
    book = AlertBook(lasting_ms=0)
    first = book.due({"disk": "full"}, 0)
    assert book.due({"disk": "full"}, 1) == first
    book.delivered(first[0], 2)
    assert book.due({"disk": "full"}, 3) == []


def test_an_end_that_did_not_arrive_is_not_sent_when_the_trouble_is_back() -> None:
    book = AlertBook(lasting_ms=0)
    book.delivered(book.due({"disk": "full"}, 0)[0], 0)
    assert subjects(book.due({}, 1)) == [("disk", "cleared")]
    assert book.due({"disk": "full"}, 2) == []


@given(st.lists(st.frozensets(st.sampled_from("abc")), max_size=60))
def test_raised_and_cleared_alternate_whatever_happens(history: list[frozenset[str]]) -> None:
    watched = Watched()
    told: dict[str, list[str]] = {}
    for wrong in history:
        watched.troubles = dict.fromkeys(wrong, "words")
        for alert in watched.after(7):
            told.setdefault(alert.subject, []).append(alert.state)
    for states in told.values():
        assert states == ["raised", "cleared"] * (len(states) // 2) + ["raised"] * (len(states) % 2)


@pytest.mark.parametrize(
    "secret",
    [
        "https://user:hunter2@store.example.org/x",
        "https://store.example.org/x?X-Amz-Signature=hunter2&a=hunter2",
        "cst_hunter2hunter2hunter2",
        "AKIAHUNTER2HUNTER2AB",
        "Authorization: hunter2",
        "Bearer hunter2",
        "password=hunter2",
        "secret: hunter2",
        "api_key=hunter2",
        "0x" + "ab" * 64,
    ],
)
def test_secrets_are_left_out(secret: str) -> None:
    words = without_secrets(f"the store refused {secret} today")
    assert "hunter2" not in words.lower()
    assert "abababab" not in words
    assert words.startswith("the store refused")
    assert words.endswith("today")


def test_ordinary_words_stay_and_long_ones_are_cut() -> None:
    words = "reading the metagraph failed at wss://entrypoint.example.org:443: Connect call failed"
    assert without_secrets(words) == words
    assert len(without_secrets("x" * 10_000)) == MAX_WORDS


@pytest.mark.parametrize("value", ["ftp://example.org", "example.org/hook", "https://"])
def test_a_webhook_is_an_http_address(value: str) -> None:
    assert is_webhook(value)
    assert is_webhook("https://hooks.example.org/services/x") is None


async def looked(status: int, troubles: Mapping[str, str], times: int) -> list[SeenRequest]:
    """What a server that answers with `status` sees of so many looks."""

    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(response(status, b""))

    async with scripted_server(script) as server, httpx.AsyncClient() as http:
        url = f"http://{server.axon}/secret-path"
        webhook = AlertWebhook(url, SENDER, lambda: troubles, http, AlertBook(lasting_ms=0), lambda: 5_000)
        for _ in range(times):
            await webhook.look()
    return server.seen


async def test_an_alert_is_one_post_of_json() -> None:
    (seen,) = await looked(200, {"publication": "the bucket refuses"}, times=3)
    assert json.loads(seen.body) == {
        "process": "auditor",
        "hotkey": "5Hotkey",
        "subject": "publication",
        "words": "the bucket refuses",
        "since": "1970-01-01T00:00:05+00:00",
        "state": "raised",
    }


async def test_a_webhook_that_fails_is_tried_again_and_its_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, "shared.alert_webhook"):
        assert len(await looked(500, {"disk": "full"}, times=3)) == 3
    assert "HTTP 500" in caplog.text
    assert "secret-path" not in caplog.text


async def test_pauses_grow_while_a_webhook_is_out_of_reach() -> None:
    pauses: list[float] = []

    class Enough(Exception):
        pass

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            raise Enough

    async with httpx.AsyncClient() as http:
        webhook = AlertWebhook(
            "http://127.0.0.1:1/x",
            SENDER,
            lambda: {"disk": "full"},
            http,
            AlertBook(lasting_ms=0),
            sleep=sleep,
        )
        with pytest.raises(Enough):
            await webhook.run()
    assert pauses == [20, 40, 80, 160, 300, 300, 300]


async def test_troubles_that_can_not_be_told_do_not_end_the_task(caplog: pytest.LogCaptureFixture) -> None:
    asked = asyncio.Event()

    def broken() -> dict[str, str]:
        asked.set()
        raise RuntimeError("no such thing")

    async with alerting("http://127.0.0.1:1/x", SENDER, broken):
        await asked.wait()
        await asyncio.sleep(0)
    assert "it goes on in" in caplog.text


async def test_without_a_webhook_nothing_is_asked() -> None:
    def never() -> Any:
        raise AssertionError

    async with alerting(None, SENDER, never):
        pass
