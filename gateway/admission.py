"""Who asks, and whether it may: a key's owner, somebody without a key, or a caller that the gateway trusts.

Nothing of this goes to a miner. A record names its client by a pseudonym (`pseudonyms.py`), so that no single
client can decide how a miner is scored.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from gateway.client_limits import ClientLimits
from gateway.client_refusals import key_required
from gateway.client_request import ClientRequest
from gateway.clock import Clock
from gateway.config import GatewayConfig
from gateway.credentials import address_prefix, key_in
from gateway.key_ring import KeyRing
from gateway.key_store import KeyStore, Limits, keys_url, open_key_database
from gateway.observation import name_client
from gateway.pseudonyms import KEY_FILE, Pseudonyms
from gateway.requested_tokens import conversation
from gateway.usage_book import UsageBook
from gateway.usage_store import UsageStore
from gateway.visit import Visit
from shared.database import Database
from shared.errors import ConfigError

log = logging.getLogger(__name__)

ANONYMOUS = "anonymous"
"""Under which the use of everybody without a key is counted."""

ADDRESS = "address|"
"""What the name of a client without a key begins with."""

TRUSTED_NAMES = 64
"""Names that the requests of trusted callers are spread over, by conversation: to anybody who reads what is
published these are clients with a request or two in an epoch, of whom none decides anything."""

MOST_CLIENTS = 50_000
"""Clients whose buckets are kept, some 50 MB; the one that asked longest ago is forgotten first."""

REFRESH_SECONDS = 2.0
"""After so long at most a key that was created works, and one that was revoked does not."""


class Admission:
    """Lets requests in.

    Args:
        anonymous: the limits of each address without a key; None: nobody is served without one.
    """

    def __init__(
        self, database: Database, pseudonyms: Pseudonyms, anonymous: Limits | None, clock: Clock
    ) -> None:
        self.database, self._pseudonyms = database, pseudonyms
        self._anonymous, self._clock = anonymous, clock
        self._ring = KeyRing(KeyStore(database))
        self.book = UsageBook(UsageStore(database), clock)
        self._limits: OrderedDict[str, ClientLimits] = OrderedDict()

    @property
    def key_failure(self) -> str | None:
        """Why keys can't be read now, so that new and revoked ones are not seen; None while they can."""
        return self._ring.failure

    @property
    def key_errors(self) -> int:
        """How often keys could not be read."""
        return self._ring.errors

    def limit_anonymous(self, limits: Limits | None) -> None:
        """Let people without a key take so much from now on, or nothing; what they took is forgotten."""
        if limits != self._anonymous:
            self._anonymous = limits
            for client in [name for name in self._limits if name.startswith(ADDRESS)]:
                del self._limits[client]

    def open(self) -> None:
        """Read what is stored. Blocks.

        Raises:
            ConfigError: it can't be read.
        """
        self._pseudonyms.renew()
        try:
            self._ring.load()
            self.book.load()
        except SQLAlchemyError as error:
            raise ConfigError(f"API keys can't be read: {error}; check --keys-database") from None

    def admit(self, scope: Scope) -> Visit:
        """Let a client in, by the head of its request; takes one of its requests a minute.

        Raises:
            ApiError: 401; its key is missing or not valid. 429; it has asked too often.
        """
        secret = key_in(scope)
        if secret is not None:
            key = self._ring.find(secret, self._clock.unix_ms())
            account = key.account
            client, limits = f"key|{account}", self._of(account, lambda: self._new(account, key.limits))
        elif self._anonymous is not None:
            allowed, client = self._anonymous, f"{ADDRESS}{address_prefix(scope)}"
            limits = self._of(client, lambda: self._new(ANONYMOUS, allowed))
        else:
            raise key_required()
        visit = Visit(name_client(self._pseudonyms.name(client)), limits)
        limits.begin()
        return visit

    def trust(self, request: ClientRequest) -> Visit:
        """Let in a caller that the gateway trusts, without limits."""
        number = self._pseudonyms.number(conversation(request), TRUSTED_NAMES)
        return Visit(name_client(self._pseudonyms.name(f"trusted|{number}")))

    def _new(self, client: str, limits: Limits) -> ClientLimits:
        return ClientLimits(client, limits, self.book, self._clock)

    def _of(self, name: str, new: Callable[[], ClientLimits]) -> ClientLimits:
        found = self._limits.get(name)
        if found is None:
            found = self._limits[name] = new()
            while len(self._limits) > MOST_CLIENTS:
                self._limits.popitem(last=False)
        self._limits.move_to_end(name)
        return found

    async def refresh(self) -> None:
        """Read new and revoked keys, store what was used, and begin a new day's names."""
        await self._ring.refresh()
        await self.book.flush()
        try:
            await asyncio.to_thread(self._pseudonyms.renew)
        except ConfigError as error:
            log.error("records go on with the names of the day before: %s", error)

    async def reload_keys(self) -> None:
        """Read new and revoked keys now."""
        await self._ring.refresh()

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception:
                log.exception("refreshing API keys failed; it is tried again in %g s", REFRESH_SECONDS)

    async def close(self) -> None:
        """Store what was used, and close the database."""
        await self.book.flush()
        self.database.close()


def anonymous_limits(config: GatewayConfig) -> Limits | None:
    """What each address may take without a key; None: nothing."""
    if not config.anonymous:
        return None
    return Limits(config.anonymous_requests_per_minute or None, config.anonymous_tokens_per_minute or None)


def open_admission(config: GatewayConfig, clock: Clock) -> Admission:
    """The admission that the flags ask for, with what is stored. Blocks.

    Raises:
        ConfigError: the database or the state folder can't be read or written.
    """
    admission = Admission(
        open_key_database(keys_url(config.keys_database, config.state_dir)),
        Pseudonyms(config.state_dir.expanduser() / KEY_FILE, clock),
        anonymous_limits(config),
        clock,
    )
    admission.open()
    return admission
