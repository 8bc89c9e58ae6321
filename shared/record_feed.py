"""Where an auditor reads a gateway's records: a folder of this machine, or the gateway over HTTP.

    GET /v1/records/logs                                            {"logs": ["", "worker-01"]}
    GET /v1/records?log=worker-01&segment=3&offset=500&limit=200    lines of that log from there on

The gateway answers those alone who sign the request (`btauth/1`, addressed to its hotkey) and may read it.
The headers of an answer say up to where it reaches, which is the cursor of the next request.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from shared.errors import DownloadFailed
from shared.peer_auth import sign_request
from shared.record_log import Cursor, RecordReader, parsed_line
from shared.records import RequestRecord
from shared.signing import Signer

if TYPE_CHECKING:
    import ssl

    import httpx

RECORDS_PATH = "/v1/records"
LOGS_PATH = "/v1/records/logs"
SEGMENT_HEADER = "x-next-segment"
OFFSET_HEADER = "x-next-offset"

MOST_LINES = 1000
MOST_BYTES = 4 << 20
"""Of one answer, unless a single record is longer: some 400 records of ordinary size."""

MOST_ANSWER_BYTES = 64 << 20
"""More than the longest record: a body of 4 MiB, escaped, with the ids of its tokens."""

TIMEOUT_S = 15.0


class RecordFeed(Protocol):
    """A record log that is being written, and the logs inside it. Calls block.

    Raises:
        DownloadFailed: it can't be read now.
    """

    def workers(self) -> Mapping[str, "RecordFeed"]:
        """The logs inside, each by a name that stays."""
        ...

    def read(self, cursor: Cursor, limit: int) -> tuple[list[RequestRecord], Cursor]:
        """Up to `limit` records after `cursor`, and the cursor behind them."""
        ...


@cache
def _trusted_certificates() -> "ssl.SSLContext":
    """Read once: it takes some 20 ms, and a log is asked for twice a second."""
    import httpx

    return httpx.create_ssl_context()


@dataclass(frozen=True)
class _Answer:
    headers: Mapping[str, str]
    body: bytes


class RemoteRecords:
    """The record log of a gateway, read over HTTP.

    Args:
        url: of the gateway.
        gateway_hotkey: the hotkey that it runs with.
    """

    def __init__(self, url: str, gateway_hotkey: str, signer: Signer, log: str = "") -> None:
        self._url, self._hotkey, self._signer, self._log = url.rstrip("/"), gateway_hotkey, signer, log

    def workers(self) -> Mapping[str, RecordFeed]:
        if self._log:
            return {}
        try:
            names = [str(name) for name in json.loads(self._get(LOGS_PATH).body)["logs"]]
        except (ValueError, KeyError, TypeError) as error:
            raise DownloadFailed(f"{self._url} does not say which record logs it has: {error}") from None
        return {name: RemoteRecords(self._url, self._hotkey, self._signer, name) for name in names if name}

    def read(self, cursor: Cursor, limit: int) -> tuple[list[RequestRecord], Cursor]:
        asked: dict[str, Any] = {"segment": cursor.segment, "offset": cursor.offset, "limit": limit}
        named = {"log": self._log} if self._log else {}
        answer = self._get(f"{RECORDS_PATH}?{urlencode(named | asked)}")
        try:
            after = Cursor(int(answer.headers[SEGMENT_HEADER]), int(answer.headers[OFFSET_HEADER]))
        except (KeyError, ValueError):
            raise DownloadFailed(f"{self._url} does not say up to where its records reach") from None
        if after < cursor:
            raise DownloadFailed(f"the records of {self._url} go back from {cursor} to {after}")
        name = f"{self._url} {self._log}".strip()
        lines = answer.body.splitlines(keepends=True)
        return [one for line in lines for one in parsed_line(RequestRecord, line, cursor, name)], after

    def _get(self, target: str) -> "_Answer":
        import httpx

        headers = sign_request(self._signer, "GET", target, b"", self._hotkey)
        try:
            with (
                httpx.Client(timeout=TIMEOUT_S, trust_env=False, verify=_trusted_certificates()) as client,
                client.stream("GET", self._url + target, headers=headers) as answer,
            ):
                return _Answer(answer.headers, self._whole(answer))
        except httpx.HTTPError as error:
            raise DownloadFailed(f"the records of {self._url} can't be read: {error}") from None

    def _whole(self, answer: "httpx.Response") -> bytes:
        data = bytearray()
        for chunk in answer.iter_bytes():
            data += chunk
            if len(data) > MOST_ANSWER_BYTES:
                raise DownloadFailed(f"{self._url} answers with more than {MOST_ANSWER_BYTES} bytes")
        if answer.status_code != 200:
            told = bytes(data[:300]).decode(errors="replace")
            raise DownloadFailed(f"{self._url} does not give its records: HTTP {answer.status_code}: {told}")
        return bytes(data)


class SeveralLogs:
    """Logs of several gateways as if they lay in one."""

    def __init__(self, feeds: Mapping[str, RecordFeed]) -> None:
        self._feeds = feeds

    def workers(self) -> Mapping[str, RecordFeed]:
        found: dict[str, RecordFeed] = {}
        for name, feed in self._feeds.items():
            found[name] = feed
            found |= {f"{name}/{inner}": log for inner, log in feed.workers().items()}
        return found

    def read(self, cursor: Cursor, limit: int) -> tuple[list[RequestRecord], Cursor]:
        return [], cursor


def open_feed(place: str, gateway_hotkey: str, signer: Signer) -> RecordFeed:
    """The log at a place: the URL of a gateway, or a folder."""
    if is_remote(place):
        return RemoteRecords(place, gateway_hotkey, signer)
    return RecordReader(Path(place).expanduser())


def is_remote(place: str) -> bool:
    """Whether a place is a gateway, not a folder."""
    return place.startswith(("http://", "https://"))


def as_one(feeds: Mapping[str, RecordFeed]) -> RecordFeed:
    """All feeds as one; a single one is itself."""
    return next(iter(feeds.values())) if len(feeds) == 1 else SeveralLogs(feeds)
