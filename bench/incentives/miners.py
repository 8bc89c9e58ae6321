"""A player: one machine, its strategy, and the hotkeys that it serves under."""

import hashlib
from collections.abc import Sequence

from bench.incentives.strategies import Situation, Strategy
from gateway.miners import Endpoint, KnownMiner, MinerListing
from validator.audit_history import MinerHistory, standings
from validator.audit_rate import audit_rate
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, is_rejected

MOST_UIDS = 16
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def hotkey_address(identity: str) -> str:
    """Something with the form of a hotkey's address; different for different identities."""
    digest = hashlib.sha512(identity.encode()).digest()
    return "5" + "".join(_BASE58[byte % len(_BASE58)] for byte in digest[:47])


class Player:
    """One machine's owner."""

    def __init__(self, place: int, strategy: Strategy) -> None:
        self.place, self.strategy = place, strategy
        self.registrations = 0
        self.known: list[KnownMiner] = []
        self.situations: dict[str, Situation] = {}
        self._registered_in = 0
        self._register(0)

    def _register(self, epoch: int) -> None:
        self._registered_in = epoch
        self.known = [self._known(number) for number in range(self.strategy.uids)]

    def _known(self, number: int) -> KnownMiner:
        hotkey = hotkey_address(f"{self.place}/{number}/{self.registrations}")
        uid = self.place * MOST_UIDS + number
        miner = KnownMiner(MinerListing(uid, hotkey, None), Endpoint(f"http://player-{uid}"))
        miner.why_not_callable = ""
        return miner

    @property
    def hotkeys(self) -> list[str]:
        """Those that it serves under now."""
        return [miner.hotkey for miner in self.known]

    def prepare(self, epoch: int, history: Sequence[MinerHistory], config: ScoringConfig) -> None:
        """Look at what is published, and register anew if the strategy says so."""
        self._look(epoch, history, config)
        if any(self.strategy.reregister(one) for one in self.situations.values()):
            self.registrations += self.strategy.uids
            self._register(epoch)
            self._look(epoch, history, config)

    def _look(self, epoch: int, history: Sequence[MinerHistory], config: ScoringConfig) -> None:
        tests = standings(history)
        self.situations = {}
        for hotkey in self.hotkeys:
            standing = tests.get(hotkey, NEWCOMER)
            self.situations[hotkey] = Situation(
                epoch=epoch,
                epochs=epoch - self._registered_in,
                standing=standing,
                rate=audit_rate(standing, (), config),
                rejected=is_rejected(standing, config),
            )
