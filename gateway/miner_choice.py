"""Choosing a miner for one request: who may serve it, who has room, and then routing's choice among those."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from gateway.affinity import Affinity, Familiar, Prompt, prompt_of
from gateway.breaker import Pass
from gateway.client_request import ClientRequest
from gateway.clock import Clock
from gateway.eligibility import eligible, order_of_uids
from gateway.errors import named_miner_unavailable, no_miner_available
from gateway.miners import KnownMiner, MinerTable
from gateway.pace import Measured, prompt_band
from gateway.provider_hints import ProviderHints
from gateway.requested_tokens import token_limit
from gateway.routing import (
    EXPECTED_TOKENS,
    LEAST_BOUND,
    Asked,
    RandomSource,
    better_wait,
    can_be_next,
    choose,
    load_bound,
)
from gateway.routing_refusals import no_miner_matches

MOSTLY_FAMILIAR = 0.5
"""From this share of its prompt on, an answer's wait for the first token says nothing of other prompts (as
`is_continuation` in `validator/comparison.py`)."""


class Wish(NamedTuple):
    """What one client's request asks of its miner.

    Attributes:
        only: the hotkey of the one miner that may serve it, of a trusted caller's request.
        familiar: who has served the conversation so far.
    """

    prompt: Prompt
    band: int
    output_tokens: float
    familiar: Familiar | None
    hints: ProviderHints | None = None
    only: str | None = None

    @property
    def free(self) -> bool:
        """Whether routing alone decides, so that the answer is a fair sample of its miner's."""
        return self.hints is None and self.only is None


class Place(NamedTuple):
    """Room at a miner, taken for one attempt.

    Attributes:
        alongside: the miner's other attempts that were under way.
        familiar_share: of the prompt, that the miner has served before.
    """

    miner: KnownMiner
    entered: Pass
    alongside: int
    familiar_share: float = 0.0

    def give_back(self) -> None:
        """Nothing was sent after all."""
        self.miner.breaker.told_nothing(self.entered)
        self.miner.end()


class MinerChoice:
    """Chooses among the miners of a table.

    Args:
        most_each: attempts under way at one miner, 0: as many as come.
    """

    def __init__(
        self,
        model: str,
        table: MinerTable,
        affinity: Affinity,
        clock: Clock,
        random: RandomSource,
        most_each: int,
    ) -> None:
        self._model, self._table, self._affinity = model, table, affinity
        self._clock, self._random, self._most_each = clock, random, most_each

    def wish(self, request: ClientRequest, client: str, only: str | None) -> Wish:
        """What a client's request asks for."""
        prompt = prompt_of(request, client)
        return Wish(
            prompt=prompt,
            band=prompt_band(prompt.size_bytes),
            output_tokens=min(EXPECTED_TOKENS, token_limit(request) or EXPECTED_TOKENS),
            familiar=self._affinity.familiar(prompt),
            hints=request.provider,
            only=only,
        )

    def take(self, wish: Wish, tried: Collection[str]) -> Place | None:
        """Choose and begin; None while all that could serve are busy.

        Raises:
            ApiError: 503; nobody could serve it even if idle.
        """
        now_s = self._clock.monotonic_s()
        miners = self._who_may(wish, tried)
        asked = self._asked(wish, miners, self._bound(wish, miners, tried))
        room = self._with_room(miners, wish, asked.bound)
        loads = self._table.loads_of(room, wish.band)
        if len(room) < len(miners):
            busy = [miner for miner in miners if miner not in room]
            if better_wait(self._table.loads_of(busy), loads, now_s):
                return None
        chosen = choose(loads, now_s, self._random, asked)
        if chosen is None:
            return None
        miner = self._table.get(chosen.uid)
        known = wish.familiar.share if wish.familiar and wish.familiar.hotkey == miner.hotkey else 0.0
        return Place(miner, miner.begin(now_s, wish.free), chosen.in_flight, known)

    def could_use(self, miner: KnownMiner, wish: Wish, tried: Collection[str]) -> bool:
        """Whether a request may be served by this miner, once it has room."""
        if not miner.callable or miner.hotkey in tried or wish.only not in (None, miner.hotkey):
            return False
        return wish.hints is None or bool(eligible([miner], wish.hints, self._table.standings).miners)

    def answered(self, wish: Wish, place: Place, answer: Measured) -> None:
        """Learn from a whole answer: how fast its miner is, and that it knows the prompt now."""
        self._table.measured(place.miner, answer)
        self._affinity.served(wish.prompt, place.miner.hotkey)

    def _who_may(self, wish: Wish, tried: Collection[str]) -> Sequence[KnownMiner]:
        if wish.only is not None:
            return self._named(wish.only, tried)
        miners = self._table.callable(tried)
        if wish.hints is not None and miners:
            found = eligible(miners, wish.hints, self._table.standings)
            if not found.miners:
                raise no_miner_matches(found.excluded)
            miners = list(found.miners)
        if not miners:
            raise no_miner_available(self._model)
        return miners

    def _named(self, hotkey: str, tried: Collection[str]) -> Sequence[KnownMiner]:
        """The one miner that a trusted caller names, unless routing could not choose it now either."""
        miner = next((one for one in self._table.all() if one.hotkey == hotkey), None)
        if miner is None:
            raise named_miner_unavailable("this gateway knows no miner of that hotkey")
        if not miner.callable:
            raise named_miner_unavailable(miner.why_not_callable)
        if hotkey in tried:
            raise named_miner_unavailable("it was asked once")
        if not can_be_next(miner.uid, self._table.loads(without=()), self._clock.monotonic_s()):
            raise named_miner_unavailable("it rests after a failure")
        return [miner]

    def _with_room(self, miners: Sequence[KnownMiner], wish: Wish, bound: int) -> Sequence[KnownMiner]:
        """Those that may have one more request; a steered one must not overload the miner that it is for."""
        most = self._most_each or None
        if wish.hints is not None:
            most = min(most or bound, bound)
        return miners if most is None else [miner for miner in miners if miner.in_flight < most]

    def _bound(self, wish: Wish, miners: Sequence[KnownMiner], tried: Collection[str]) -> int:
        """From how many attempts under way a miner is not sought out; the mean is that of all miners."""
        if not wish.familiar and wish.hints is None:
            return LEAST_BOUND
        if tried or not wish.free:
            miners = self._table.callable()
        return load_bound(sum(miner.in_flight for miner in miners), len(miners))

    def _asked(self, wish: Wish, miners: Sequence[KnownMiner], bound: int) -> Asked:
        familiar = wish.familiar
        uids = {miner.hotkey: miner.uid for miner in miners} if familiar else {}
        return Asked(
            typical=self._table.typical(wish.band),
            output_tokens=wish.output_tokens,
            order=order_of_uids(miners, wish.hints.order) if wish.hints else (),
            familiar_uid=uids.get(familiar.hotkey) if familiar else None,
            familiar_share=familiar.share if familiar else 0.0,
            bound=bound,
        )
