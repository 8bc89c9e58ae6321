"""How many requests and tokens each client has used, by day and model, in the gateway's database."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import func, select

from gateway.key_store import usage
from shared.database import Database, insert_or_update

COUNTS = ("requests", "prompt_tokens", "output_tokens")


class UsageKey(NamedTuple):
    """Whose use of what, on which day (UTC, as 2026-11-26)."""

    day: str
    client: str
    model: str


@dataclass(frozen=True)
class Used:
    """What was used."""

    requests: int = 0
    prompt_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Used") -> "Used":
        return Used(
            self.requests + other.requests,
            self.prompt_tokens + other.prompt_tokens,
            self.output_tokens + other.output_tokens,
        )

    @property
    def tokens(self) -> int:
        """Prompt and output together: what quotas count."""
        return self.prompt_tokens + self.output_tokens


class UsageStore:
    """The counts. Every method is one transaction and blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counts: Mapping[UsageKey, Used]) -> None:
        """Add to what is stored: each in one statement, so that gateways that share a database add up."""
        with self._database.writing() as connection:
            into = insert_or_update(connection, usage)
            for key, used in sorted(counts.items(), key=lambda item: item[0]):
                more = {name: usage.c[name] + into.excluded[name] for name in COUNTS}
                added = into.on_conflict_do_update(index_elements=["day", "client", "model"], set_=more)
                connection.execute(added.values(**key._asdict(), **vars(used)))

    def tokens_on(self, day: str) -> dict[str, int]:
        """Tokens by client on one day."""
        tokens = func.sum(usage.c.prompt_tokens + usage.c.output_tokens)
        query = select(usage.c.client, tokens).where(usage.c.day == day).group_by(usage.c.client)
        with self._database.reading() as connection:
            return {client: int(total) for client, total in connection.execute(query)}

    def since(self, day: str, client: str | None = None) -> dict[UsageKey, Used]:
        """All counts from `day` on, of one client or of all, in order."""
        query = select(usage).where(usage.c.day >= day)
        if client is not None:
            query = query.where(usage.c.client == client)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(usage.c.day, usage.c.client, usage.c.model)).all()
        return {
            UsageKey(row.day, row.client, row.model): Used(*(getattr(row, name) for name in COUNTS))
            for row in rows
        }
