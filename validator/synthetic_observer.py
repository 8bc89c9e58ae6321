"""Reads the gateway's log for what clients send, and for how many answers each miner has given lately."""

import json
import random
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from shared.record_feed import RecordFeed
from shared.record_log import Cursor
from shared.records import RequestRecord
from validator.synthetic_reservoir import Reservoir
from validator.synthetic_shapes import Identity, content_identity, shape_of
from validator.synthetic_state import SyntheticState

BATCH_RECORDS = 200
"""Records read at once: a few megabytes at most."""

MAX_OWN = 4096
"""Own requests that have not yet been met in the log; those that the gateway refused never will be."""


class TrafficObserver:
    """What is known of recent traffic.

    Attributes:
        reservoir: shapes of organic requests; the auditor's own are told apart and left out, or it would
            end up imitating itself.
        identity: recognises texts.
    """

    def __init__(
        self, reader: RecordFeed, state: SyntheticState, most_answers: int, chance: random.Random
    ) -> None:
        self._reader, self._cursor = reader, state.cursor
        self._workers = {name: Cursor(*place) for name, place in state.workers.items()}
        self._key, self._most_answers = state.key, most_answers
        self.identity = Identity(bytes.fromhex(state.key))
        self.reservoir = Reservoir(chance, state.shapes)
        self._answered = {
            hotkey: deque(times, maxlen=most_answers) for hotkey, times in state.answered_at_ms.items()
        }
        self._own = dict.fromkeys(state.own)
        self._of_rounds: dict[str, None] = {}

    def state(self) -> SyntheticState:
        """What is to be stored."""
        return SyntheticState(
            key=self._key,
            segment=self._cursor.segment,
            offset_bytes=self._cursor.offset,
            shapes=tuple(self.reservoir.shapes),
            answered_at_ms={hotkey: tuple(times) for hotkey, times in self._answered.items()},
            own=tuple(self._own),
            workers={name: (cursor.segment, cursor.offset) for name, cursor in self._workers.items()},
        )

    def follow(self) -> None:
        """Take in everything new in the log, or in the logs inside it. Blocks.

        Raises:
            DownloadFailed: a log can't be read now; what was read counts.
        """
        while self._take_batch(self._reader, self._cursor, self._at):
            pass
        for name, reader in self._reader.workers().items():
            while self._take_batch(reader, self._workers.get(name, Cursor()), partial(self._at_of, name)):
                pass

    def _take_batch(self, reader: RecordFeed, cursor: Cursor, at: Callable[[Cursor], None]) -> bool:
        records, cursor = reader.read(cursor, BATCH_RECORDS)
        for record in records:
            self._take(record)
        at(cursor)
        return bool(records)

    def _at(self, cursor: Cursor) -> None:
        self._cursor = cursor

    def _at_of(self, name: str, cursor: Cursor) -> None:
        self._workers[name] = cursor

    def note_own(self, body: Mapping[str, Any], of_round: bool = False) -> None:
        """The auditor is about to send this body.

        Answers in rounds don't count, or a miner without clients would be asked in rounds alone. (Those that
        are under way when the auditor is restarted do.)
        """
        content = content_identity(body, self.identity)
        for noted in (self._own, self._of_rounds) if of_round else (self._own,):
            noted[content] = None
            while len(noted) > MAX_OWN:
                del noted[next(iter(noted))]

    def answers_since(self, hotkey: str, since_ms: int) -> int:
        """Answers of a miner outside of rounds that ended after `since_ms`, at most `most_answers`."""
        return sum(at_ms > since_ms for at_ms in self._answered.get(hotkey, ()))

    def forget_all_but(self, hotkeys: frozenset[str]) -> None:
        """Drop the counts of miners that have left."""
        self._answered = {hotkey: times for hotkey, times in self._answered.items() if hotkey in hotkeys}

    def _take(self, record: RequestRecord) -> None:
        body = json.loads(record.request_body)
        own = content_identity(body, self.identity)
        is_own = self._own.pop(own, False) is None
        is_of_round = self._of_rounds.pop(own, False) is None
        if record.outcome != "answered" or record.output_tokens == 0 or is_of_round:
            return
        times = self._answered.setdefault(record.miner_hotkey, deque(maxlen=self._most_answers))
        times.append(record.finished_at_ms)
        shape = None if is_own else shape_of(record.path, body, self.identity)
        if shape is not None:
            self.reservoir.add(shape)
