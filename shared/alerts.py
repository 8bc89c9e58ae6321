"""Which troubles an operator is told of, and when: those that last, once each, and again when they are over.

Imports nothing heavy. Pure: given what is wrong now, by subject, it says what is to be sent. A trouble that
comes and goes is one trouble for a while, and in an hour no more are told than anybody reads.
"""

import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import urlsplit

AlertState = Literal["raised", "cleared"]

LASTING_MS = 60_000
"""Shorter troubles cure themselves: a dropped connection to the chain is opened again within seconds."""

QUIET_MS = 600_000
"""After one alert about a subject, the next about it waits so long."""

MOST_AN_HOUR = 30
"""Troubles told in an hour; what is over is always told."""

MAX_WORDS = 500

_HOUR_MS = 3_600_000

_SECRETS = (
    re.compile(r"(?<=://)[^\s/@]+@"),
    re.compile(r"(?<=[?&])[^\s=&]+=[^\s&]+"),
    re.compile(r"\b(?:cst_|AKIA|ASIA)[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?i)\b(?:bearer|authorization:?)\s+\S+"),
    re.compile(r"(?i)\b(?:api[-_ ]?key|secret|password|token)\s*[=:]\s*\S+"),
    re.compile(r"\b(?:0x)?[0-9a-fA-F]{128,}\b"),
)
"""Passwords in URLs, query strings, API keys, credentials by name, signatures."""


def is_webhook(value: str) -> str | None:
    """Check of a setting: a URL that can be posted to."""
    parts = urlsplit(value)
    fine = parts.scheme in ("http", "https") and parts.hostname
    return None if fine else "it must be an http:// or https:// address"


def without_secrets(words: str) -> str:
    """The words, cut short, without what may be a secret: error messages quote addresses and answers."""
    for secret in _SECRETS:
        words = secret.sub("…", words)
    return words[:MAX_WORDS]


@dataclass(frozen=True)
class Alert:
    """One message about one subject; `since_ms` is when its trouble began, in Unix milliseconds."""

    subject: str
    words: str
    since_ms: int
    state: AlertState

    def body(self, process: str, hotkey: str) -> dict[str, str]:
        """What is posted."""
        since = datetime.fromtimestamp(self.since_ms / 1000, UTC).isoformat(timespec="seconds")
        return {
            "process": process,
            "hotkey": hotkey,
            "subject": self.subject,
            "words": without_secrets(self.words),
            "since": since,
            "state": self.state,
        }


@dataclass
class _Trouble:
    """One subject's trouble: its latest words, and whether the operator knows of it."""

    since_ms: int
    words: str
    told: bool = False


class AlertBook:
    """Call `due` again and again, and `delivered` with what of it arrived."""

    def __init__(
        self, lasting_ms: int = LASTING_MS, quiet_ms: int = QUIET_MS, most_an_hour: int = MOST_AN_HOUR
    ) -> None:
        self._lasting_ms, self._quiet_ms, self._most = lasting_ms, quiet_ms, most_an_hour
        self._troubles: dict[str, _Trouble] = {}
        self._told_at_ms: dict[str, int] = {}
        self._raised_at_ms: deque[int] = deque()

    def due(self, current: Mapping[str, str], now_ms: int) -> list[Alert]:
        """What should be sent now; the same again until it is delivered or no longer true.

        Args:
            current: what is wrong now, in words by subject.
        """
        for subject, words in current.items():
            self._troubles.setdefault(subject, _Trouble(now_ms, words)).words = words
        over = [subject for subject in self._troubles if subject not in current]
        cleared = [self._alert(subject, "cleared") for subject in over if self._troubles[subject].told]
        for subject in over:
            if not self._troubles[subject].told:
                del self._troubles[subject]
        raised = [self._alert(subject, "raised") for subject in current if self._is_due(subject, now_ms)]
        return [*cleared, *raised[: max(0, self._most - self._raised_lately(now_ms))]]

    def delivered(self, alert: Alert, now_ms: int) -> None:
        """Note that the operator got an alert."""
        self._told_at_ms[alert.subject] = now_ms
        if alert.state == "cleared":
            self._troubles.pop(alert.subject, None)
            return
        self._raised_at_ms.append(now_ms)
        if alert.subject in self._troubles:
            self._troubles[alert.subject].told = True

    def _alert(self, subject: str, state: AlertState) -> Alert:
        trouble = self._troubles[subject]
        return Alert(subject, trouble.words, trouble.since_ms, state)

    def _is_due(self, subject: str, now_ms: int) -> bool:
        trouble = self._troubles[subject]
        lasts = now_ms - trouble.since_ms >= self._lasting_ms
        last = self._told_at_ms.get(subject)
        return lasts and not trouble.told and (last is None or now_ms - last >= self._quiet_ms)

    def _raised_lately(self, now_ms: int) -> int:
        while self._raised_at_ms and now_ms - self._raised_at_ms[0] >= _HOUR_MS:
            self._raised_at_ms.popleft()
        return len(self._raised_at_ms)
