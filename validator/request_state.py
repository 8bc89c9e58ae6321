"""What the auditor remembers of requests until their epoch is published: records, draws, verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from shared.canonical import canonical_json
from shared.chain import Block
from shared.database import now_ms
from shared.record_log import Cursor
from shared.records import RequestRecord
from validator.audit_report import AuditReport
from validator.database import Database, cursors, epochs, requests, verdicts
from validator.published_rows import ChallengeExchange, PublishedText
from validator.request_facts import RequestFacts, facts_of, is_auditable, text_of
from validator.verdicts import Verdict, VerdictOutcome

RequestKey = tuple[str, str]
"""(request id, miner's hotkey): one attempt at one miner."""

FOREVER_MS = 1 << 62
"""When the lease of an audited request ends, so that nobody begins with what has just been audited."""


@dataclass(frozen=True)
class Draw:
    """Where chance put one request: its challenge block and its selection draw in [0, 1)."""

    key: RequestKey
    block: Block
    draw: float


@dataclass(frozen=True)
class DrawnRequest:
    """A drawn request and, once it is audited, how that ended."""

    key: RequestKey
    draw: float
    outcome: VerdictOutcome | None = None
    log_e: float = 0.0


def _verdict_of_request() -> ColumnElement[bool]:
    return and_(
        verdicts.c.request_id == requests.c.request_id, verdicts.c.miner_hotkey == requests.c.miner_hotkey
    )


class RequestState:
    """Requests and verdicts of epochs that are not published yet. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def cursor(self, source: str) -> Cursor:
        """How far the record log `source` has been read."""
        with self._database.reading() as connection:
            row = connection.execute(select(cursors).where(cursors.c.source == source)).first()
        return Cursor(row.segment, row.offset_bytes) if row else Cursor()

    def add_records(
        self,
        source: str,
        records: Sequence[RequestRecord],
        cursor: Cursor,
        known_prefixes: Mapping[RequestKey, int | None] | None = None,
    ) -> int:
        """Store what was read and how far, in one transaction; returns how many records were new.

        They belong to the epoch that is open now. A second record of the same attempt is dropped.
        """
        prefixes = known_prefixes or {}
        with self._database.writing() as connection:
            number = _open_epoch(connection)
            known = {
                tuple(row)
                for row in connection.execute(
                    select(requests.c.request_id, requests.c.miner_hotkey).where(
                        requests.c.request_id.in_([record.request_id for record in records])
                    )
                )
            }
            fresh = {
                (record.request_id, record.miner_hotkey): record
                for record in reversed(records)
                if (record.request_id, record.miner_hotkey) not in known
            }
            if fresh:
                rows = [_row(record, number, prefixes.get(key)) for key, record in fresh.items()]
                connection.execute(insert(requests).values(rows))
            connection.execute(delete(cursors).where(cursors.c.source == source))
            connection.execute(
                insert(cursors).values(source=source, segment=cursor.segment, offset_bytes=cursor.offset)
            )
        return len(fresh)

    def undrawn(self, limit: int) -> list[RequestRecord]:
        """Records that still wait for their challenge block, oldest first."""
        query = (
            select(requests.c.record)
            .where(requests.c.auditable, requests.c.draw.is_(None), requests.c.record.is_not(None))
            .order_by(requests.c.finished_at_ms, requests.c.request_id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [RequestRecord.model_validate_json(text) for text in connection.execute(query).scalars()]

    def set_draws(self, draws: Sequence[Draw]) -> None:
        """Store draws, of those requests that have none."""
        undrawn = (requests.c.draw.is_(None), requests.c.record.is_not(None))
        with self._database.writing() as connection:
            for drawn in draws:
                values = {
                    "challenge_block": drawn.block.number,
                    "challenge_block_hash": drawn.block.hash,
                    "challenge_block_ms": drawn.block.timestamp_ms,
                    "draw": drawn.draw,
                }
                connection.execute(update(requests).where(*_is(drawn.key), *undrawn).values(values))

    def give_up(self, keys: Sequence[RequestKey]) -> None:
        """These requests can't be audited any more, through no fault of the miner."""
        with self._database.writing() as connection:
            for key in keys:
                connection.execute(update(requests).where(*_is(key)).values(auditable=False))

    def count_undrawn(self, epoch: int) -> int:
        """Requests of `epoch` that still wait for their challenge block."""
        query = (
            select(func.count())
            .select_from(requests)
            .where(requests.c.epoch == epoch, requests.c.auditable, requests.c.draw.is_(None))
        )
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def drawn(self, epoch: int) -> list[DrawnRequest]:
        """All drawn requests of `epoch`, smallest draw first."""
        query = (
            select(
                requests.c.request_id,
                requests.c.miner_hotkey,
                requests.c.draw,
                verdicts.c.outcome,
                verdicts.c.log_e,
            )
            .select_from(requests.outerjoin(verdicts, _verdict_of_request()))
            .where(requests.c.epoch == epoch, requests.c.draw.is_not(None), requests.c.auditable)
            .order_by(requests.c.draw, requests.c.request_id, requests.c.miner_hotkey)
        )
        with self._database.reading() as connection:
            return [
                DrawnRequest((row.request_id, row.miner_hotkey), row.draw, row.outcome, row.log_e or 0.0)
                for row in connection.execute(query)
            ]

    def challenge_blocks(self, epoch: int) -> list[Block]:
        """The challenge blocks of all drawn requests of `epoch`, oldest first."""
        query = (
            select(requests.c.challenge_block, requests.c.challenge_block_hash, requests.c.challenge_block_ms)
            .where(requests.c.epoch == epoch, requests.c.auditable, requests.c.draw.is_not(None))
            .distinct()
            .order_by(requests.c.challenge_block)
        )
        with self._database.reading() as connection:
            return [Block(*row) for row in connection.execute(query)]

    def audit_of(self, key: RequestKey) -> tuple[RequestRecord, Block] | None:
        """The record and challenge block of a drawn request; None once its epoch is scored."""
        with self._database.reading() as connection:
            row = connection.execute(select(requests).where(*_is(key))).first()
        if row is None or row.record is None or row.draw is None:
            return None
        block = Block(row.challenge_block, row.challenge_block_hash, row.challenge_block_ms)
        return RequestRecord.model_validate_json(row.record), block

    def add_report(self, report: AuditReport, token: int = 0, auditor: str | None = None) -> bool:
        """Store what an audit came to; False when its epoch is scored already, the answer was audited, or
        somebody else has leased it.

        Args:
            token: of the lease under which the audit was made; 0 of a request that nobody has ever leased.
            auditor: the name of the auditor that made it.
        """
        verdict, exchange = report.verdict, report.exchange
        key = (verdict.request_id, verdict.miner_hotkey)
        current = (*_is(key), requests.c.record.is_not(None), requests.c.lease_token == token)
        with self._database.writing() as connection:
            # The row stays locked to the end: neither is it leased meanwhile nor its epoch made final.
            epoch = connection.execute(select(requests.c.epoch).where(*current).with_for_update()).scalar()
            if epoch is None or connection.execute(select(verdicts).where(_of(key))).first():
                return False
            connection.execute(
                insert(verdicts).values(
                    request_id=verdict.request_id,
                    miner_hotkey=verdict.miner_hotkey,
                    epoch=epoch,
                    outcome=verdict.outcome,
                    log_e=verdict.log_e,
                    body=canonical_json(verdict).decode(),
                    exchange=canonical_json(exchange).decode() if exchange else None,
                    auditor=auditor,
                    stored_at_ms=now_ms(connection),
                )
            )
            connection.execute(update(requests).where(*_is(key)).values(lease_until_ms=FOREVER_MS))
        return True

    def audits_by(self, epoch: int) -> dict[str, int]:
        """How many verdicts of `epoch` each auditor has made, by name."""
        query = select(verdicts.c.auditor, func.count()).where(verdicts.c.epoch == epoch)
        with self._database.reading() as connection:
            rows = connection.execute(query.group_by(verdicts.c.auditor).order_by(verdicts.c.auditor)).all()
        return {auditor or "": int(audits) for auditor, audits in rows}

    def count_verdicts(self, epoch: int) -> int:
        """How many verdicts of `epoch` there are, by all auditors."""
        query = select(func.count()).select_from(verdicts).where(verdicts.c.epoch == epoch)
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def facts(self, epoch: int) -> list[RequestFacts]:
        """What is published of the requests of `epoch`, in the order of publication."""
        query = select(requests.c.facts).where(requests.c.epoch == epoch)
        with self._database.reading() as connection:
            found = [RequestFacts.model_validate_json(text) for text in connection.execute(query).scalars()]
        return sorted(found, key=lambda facts: facts.key)

    def texts(self, epoch: int) -> list[PublishedText]:
        """What is published of the words of `epoch`'s answers; nothing once it is scored."""
        query = select(requests.c.record).where(requests.c.epoch == epoch, requests.c.record.is_not(None))
        with self._database.reading() as connection:
            records = connection.execute(query).scalars()
            found = [text_of(RequestRecord.model_validate_json(record)) for record in records]
        return [text for text in found if text is not None]

    def exchanges(self, epoch: int) -> list[ChallengeExchange]:
        """The challenges of `epoch`'s verdicts and what came of them."""
        query = select(verdicts.c.exchange).where(verdicts.c.epoch == epoch, verdicts.c.exchange.is_not(None))
        with self._database.reading() as connection:
            return [
                ChallengeExchange.model_validate_json(text) for text in connection.execute(query).scalars()
            ]

    def verdicts(self, epoch: int, hotkey: str | None = None) -> list[Verdict]:
        """The verdicts of `epoch`, of all miners or of one, in the order of publication."""
        query = select(verdicts.c.body).where(verdicts.c.epoch == epoch)
        if hotkey is not None:
            query = query.where(verdicts.c.miner_hotkey == hotkey)
        with self._database.reading() as connection:
            found = [Verdict.model_validate_json(text) for text in connection.execute(query).scalars()]
        return sorted(found, key=lambda verdict: (verdict.request_id, verdict.miner_hotkey))

    def forget(self, epoch: int) -> None:
        """Drop the requests and verdicts of published epochs up to `epoch`: the store has them."""
        with self._database.writing() as connection:
            connection.execute(delete(requests).where(requests.c.epoch <= epoch))
            connection.execute(delete(verdicts).where(verdicts.c.epoch <= epoch))


def _open_epoch(connection: Connection) -> int:
    """The epoch that is open, and stays so until the transaction has ended."""
    query = select(epochs.c.number).where(epochs.c.state == "open").order_by(epochs.c.number.desc()).limit(1)
    while True:
        # One that was closed while this waited for it is none: the next look finds its successor.
        found = connection.execute(query.with_for_update(read=True)).scalar()
        if found is not None:
            return int(found)
        if connection.execute(select(epochs.c.number).where(epochs.c.state == "open")).first() is None:
            raise LookupError("no epoch is open")


def _of(key: RequestKey) -> ColumnElement[bool]:
    return and_(verdicts.c.request_id == key[0], verdicts.c.miner_hotkey == key[1])


def _is(key: RequestKey) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return requests.c.request_id == key[0], requests.c.miner_hotkey == key[1]


def _row(record: RequestRecord, epoch: int, known_prefix_tokens: int | None) -> dict[str, object]:
    return {
        "request_id": record.request_id,
        "miner_hotkey": record.miner_hotkey,
        "epoch": epoch,
        "finished_at_ms": record.finished_at_ms,
        "facts": canonical_json(facts_of(record, known_prefix_tokens, epoch)).decode(),
        "record": canonical_json(record).decode() if is_auditable(record) else None,
        "auditable": is_auditable(record),
    }
