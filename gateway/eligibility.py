"""Which miners a client's hints leave, and how many each of its conditions excluded."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from gateway.audit_weight import AuditStandings
from gateway.miners import KnownMiner
from gateway.provider_hints import Named, ProviderHints
from gateway.standings import AuditStanding

IGNORED = "provider.ignore names {}"
NOT_IN_ORDER = "provider.order leaves out {}"
REJECTED = "the audits reject {}"
NOT_AUDITED = "{} has no decided audit (provider.require_audited, provider.min_pass_rate)"
BELOW_RATE = "{} passed too few audits (provider.min_pass_rate)"


@dataclass(frozen=True)
class Eligible:
    """Miners that may serve a request.

    Attributes:
        excluded: why the others may not, as a sentence with a place for their number, and how many they are.
    """

    miners: Sequence[KnownMiner]
    excluded: Counter[str]


def eligible(miners: Iterable[KnownMiner], hints: ProviderHints, standings: AuditStandings) -> Eligible:
    """The miners that meet every condition. Each of the others is counted under the first that it fails."""
    left, excluded = list[KnownMiner](), Counter[str]()
    for miner in miners:
        reason = _why_not(miner, hints, standings.of(miner.hotkey))
        if reason is None:
            left.append(miner)
        else:
            excluded[reason] += 1
    return Eligible(left, excluded)


def is_named(miner: KnownMiner, names: Collection[Named]) -> bool:
    """Whether a list names the miner, by uid or hotkey."""
    return miner.uid in names or miner.hotkey in names


def order_of_uids(miners: Iterable[KnownMiner], order: Sequence[Named]) -> tuple[int, ...]:
    """The uids of those that `order` names, in that order."""
    by_name: dict[Named, int] = {}
    for miner in miners:
        by_name[miner.uid] = by_name[miner.hotkey] = miner.uid
    return tuple(by_name[name] for name in order if name in by_name)


def _why_not(miner: KnownMiner, hints: ProviderHints, standing: AuditStanding | None) -> str | None:
    if is_named(miner, hints.ignore):
        return IGNORED
    if not hints.allow_fallbacks and not is_named(miner, hints.order):
        return NOT_IN_ORDER
    if standing is not None and standing.rejected:
        return REJECTED
    if not hints.require_audited and not hints.min_pass_rate:
        return None
    if standing is None or not standing.audits:
        return NOT_AUDITED
    return BELOW_RATE if standing.passes < hints.min_pass_rate * standing.audits else None
