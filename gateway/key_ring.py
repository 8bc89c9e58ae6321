"""The keys in memory, as they stood in the database a moment ago: requests are never kept waiting for it."""

import asyncio
import hmac
import logging
from collections.abc import Mapping

from sqlalchemy.exc import SQLAlchemyError

from gateway.client_refusals import invalid_key
from gateway.key_store import ApiKey, KeyStore, digest_of

log = logging.getLogger(__name__)


class KeyRing:
    """Looks keys up by what is stored of them.

    Attributes:
        failure: why the database can't be read now; None while it can.
        errors: how often it could not.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._stamp: tuple[int, int] | None = None
        self._by_digest: Mapping[str, ApiKey] = {}
        self.failure: str | None = None
        self.errors = 0

    def load(self) -> None:
        """Read the keys if any was created or revoked. Blocks.

        Raises:
            SQLAlchemyError: the database can't be read; the keys stay as they were.
        """
        stamp = self._store.stamp()
        if stamp != self._stamp:
            self._by_digest = {key.digest: key for key in self._store.all()}
            self._stamp = stamp

    async def refresh(self) -> None:
        """Read what is new; without the database the keys of the last reading go on."""
        try:
            await asyncio.to_thread(self.load)
        except SQLAlchemyError as error:
            if self.failure is None:
                log.error("API keys can't be read, so new and revoked ones are not seen: %s", error)
            self.failure = f"API keys can't be read: {type(error).__name__}"
            self.errors += 1
            return
        if self.failure is not None:
            log.info("API keys can be read again")
        self.failure = None

    def find(self, secret: str, now_ms: int) -> ApiKey:
        """The valid key that `secret` is.

        Looking up digests tells by its time nothing of use: who tries keys can't choose their digests.

        Raises:
            ApiError: 401; it is no key of this gateway, or a revoked or expired one.
        """
        digest = digest_of(secret)
        key = self._by_digest.get(digest)
        if key is None or not hmac.compare_digest(key.digest, digest):
            raise invalid_key("The API key is not one of this gateway")
        state = key.state(now_ms)
        if state != "valid":
            raise invalid_key(f"The API key {key.id} is {state}")
        return key
