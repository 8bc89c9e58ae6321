"""A refusal in one epoch and another miner's answer in the next meet; neither can be hidden."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.object_store import FolderStore
from shared.records import Outcome, RequestRecord
from tests.validator.audit_rig import AuditRig
from tests.validator.auditor_examples import ALSO_HONEST, AUDITOR, HONEST, example_record, many_records
from tests.validator.published_epochs import Published
from validator.database import Database
from validator.epoch_check import check_latest
from validator.open_refusals import (
    ANSWERED_WITHIN_MS,
    MOST_OF_A_MINER,
    OpenRefusal,
    made_up_for,
    open_refusals,
)
from validator.request_facts import RequestFacts, facts_of
from validator.scoring import MinerScore


def facts(records: Sequence[RequestRecord]) -> list[RequestFacts]:
    return [facts_of(record) for record in records]


def refusal(number: int, **fields: Any) -> RequestRecord:
    return example_record(number, outcome="refused", **fields)


def retry(tried: RequestRecord, number: int, outcome: Outcome = "answered") -> RequestRecord:
    """Another miner's attempt at the same client's request."""
    attempt = example_record(number, ALSO_HONEST, 2, outcome, finished_at_ms=tried.finished_at_ms + 60_000)
    return attempt.model_copy(update={"client_request": tried.request_id})


def carried(record: RequestRecord) -> OpenRefusal:
    return OpenRefusal(client_request=record.request_id, miner_hotkey=record.miner_hotkey)


def test_a_refusal_stays_open_until_somebody_answers() -> None:
    refused = refusal(1)
    assert open_refusals(facts([refused])) == (carried(refused),)
    assert open_refusals(facts([refused, retry(refused, 2, "failed")])) == (carried(refused),)
    assert open_refusals(facts([refused, retry(refused, 2)])) == ()


@pytest.mark.parametrize("outcome", ["answered", "failed", "client_left"])
def test_other_outcomes_are_not_carried(outcome: Outcome) -> None:
    assert open_refusals(facts([example_record(1, outcome=outcome)])) == ()


def test_another_miners_answer_counts_against_the_one_that_refused() -> None:
    first, second = refusal(1), refusal(2)
    open_ones = [carried(first), carried(second)]
    assert made_up_for(open_ones, facts([retry(first, 3)])) == {HONEST.ss58_address: open_ones[:1]}
    both = facts([retry(first, 3), retry(second, 4)])
    assert made_up_for(open_ones, both) == {HONEST.ss58_address: open_ones}


def test_what_nobody_answers_and_what_the_miner_answers_itself_is_no_failure() -> None:
    refused = refusal(1)
    own = example_record(3).model_copy(update={"client_request": refused.request_id})
    unrelated = many_records(ALSO_HONEST, 2, range(5, 9))
    for later in ([], unrelated, [retry(refused, 3, "refused")], [own]):
        assert made_up_for([carried(refused)], facts(later)) == {}


def test_of_a_flood_only_the_latest_of_each_miner_are_carried() -> None:
    flood = [
        refusal(number, finished_at_ms=1_700_000_000_000 + number) for number in range(MOST_OF_A_MINER + 9)
    ]
    other = example_record(9999, ALSO_HONEST, 2, "refused", finished_at_ms=1_700_000_000_000)
    kept = open_refusals(facts([*flood, other]))
    assert set(kept) == {*map(carried, flood[9:]), carried(other)}


def test_a_refusal_is_not_carried_for_longer_than_an_answer_can_take() -> None:
    late = 1_700_000_000_000
    old, recent = (
        refusal(number, finished_at_ms=late - age) for number, age in ((1, ANSWERED_WITHIN_MS), (2, 1000))
    )
    answered = example_record(3, finished_at_ms=late)
    assert open_refusals(facts([old, recent, answered])) == (carried(recent),)


@given(st.permutations(range(12)))
def test_the_order_of_records_does_not_matter(order: list[int]) -> None:
    records = [refusal(number) for number in range(8)]
    records += [retry(records[number], 20 + number) for number in range(4)]
    shuffled = [records[place] for place in order]
    assert open_refusals(facts(shuffled)) == tuple(map(carried, records[4:8]))


def score_of(scores: Sequence[MinerScore]) -> MinerScore:
    return next(one for one in scores if one.hotkey == HONEST.ss58_address)


@pytest.fixture
async def published(database: Database, tmp_path: Path) -> Published:
    """HONEST refuses request 50 and 51 in the first epoch; ALSO_HONEST answers 50 in the second."""
    rig, store = AuditRig(database), FolderStore(tmp_path / "store")
    at = {"finished_at_ms": rig.clock()}
    refused = [refusal(50, **at), refusal(51, **at)]
    await rig.run_epoch([*many_records(HONEST, 1, range(6), **at), *refused])
    rig.publish_next(store)
    at = {"finished_at_ms": rig.clock()}
    answers = [
        *many_records(HONEST, 1, range(100, 106), **at),
        *many_records(ALSO_HONEST, 2, range(200, 206), **at),
    ]
    late = retry(refused[0], 300).model_copy(update=at)
    await rig.run_epoch([*answers, late])
    rig.publish_next(store)
    return Published(store, rig.clock())


def test_a_refusal_is_seen_when_the_answer_comes_in_the_next_epoch(published: Published) -> None:
    first, second = published.summary(1), published.summary(2)
    assert score_of(first.scores).failed == 0, "nobody has answered yet: it may be the client's fault"
    assert [one.client_request for one in second.refusals] == ["request-000050", "request-000051"]
    picky = score_of(second.scores)
    assert (picky.requests, picky.answered, picky.failed) == (7, 6, 1)
    assert "1 of 7 requests failed, or were refused and answered by another" in picky.reasons
    assert second.refusals_after == (), "what was carried once is not carried again"


def test_followers_repeat_it(published: Published) -> None:
    check_latest(published.store, published.expected(), None)
    check_latest(published.store, published.expected(), published.followed(1))


def test_a_forgotten_refusal_is_refused(published: Published) -> None:
    published.lie(refusals=published.summary().refusals[1:])
    assert published.refusal() == "history"


def test_an_invented_refusal_is_refused(published: Published) -> None:
    invented = OpenRefusal(client_request="request-000200", miner_hotkey=HONEST.ss58_address)
    published.lie(refusals=(*published.summary().refusals, invented))
    assert published.refusal() == "history"
    published.lie(refusals=published.summary(1).refusals_after, refusals_after=(invented,))
    assert published.refusal() == "history"


def test_a_score_without_the_late_refusal_is_refused(published: Published) -> None:
    scores = tuple(
        one.model_copy(update={"failed": 0}) if one.hotkey == HONEST.ss58_address else one
        for one in published.summary().scores
    )
    published.lie(AUDITOR, scores=scores)
    assert published.refusal() == "scores"


def test_a_carried_refusal_names_its_client_so_that_one_client_stays_one() -> None:
    refused = [refusal(number).model_copy(update={"client": "ab" * 16}) for number in (1, 2)]
    kept = open_refusals(facts(refused))
    assert kept[0].client == kept[1].client == facts(refused)[0].client
    assert kept[0].client not in (None, "ab" * 16)
