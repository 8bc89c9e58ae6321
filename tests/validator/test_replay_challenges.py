"""A publisher that signs other challenges, answers, texts or verdicts: which check names what it did."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.canonical import sha256_hex
from shared.challenges import sign_answer
from tests.validator.committed_epochs import MINERS
from tests.validator.replayed import Replayed, replayed
from validator.challenge_selection import challenge_seed
from validator.published_rows import ChallengeExchange
from validator.scoring_config import ScoringConfig


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return replayed(tmp_path)


def test_an_answer_audited_by_choice_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    judged = {one.request_id for one in publisher.verdicts()}
    chosen = next(one for one in publisher.requests() if one.request_id not in judged)
    assert chosen.receipt is not None
    blocks = [one for one in publisher.summary().challenge_blocks if one.timestamp_ms > chosen.finished_at_ms]
    seed = challenge_seed(blocks[0].hash, chosen.receipt.signature)
    like = next(one for one in publisher.verdicts() if one.miner_hotkey == chosen.miner_hotkey)
    verdict = like.model_copy(
        update={
            "request_id": chosen.request_id,
            "challenge_seed": seed,
            "challenge_block": blocks[0].number,
            "challenge_block_hash": blocks[0].hash,
        }
    )
    publisher.lie_about_verdicts([*publisher.verdicts(), verdict])
    faults = dict(epochs.faults(chained=False))
    assert f"{chosen.request_id} was audited though it was not drawn" == faults["challenges"]


def test_an_audit_left_out_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    publisher.lie_about_verdicts(publisher.verdicts()[1:])
    assert "challenges" in epochs.failing(chained=False)


Change = Callable[[ChallengeExchange], ChallengeExchange]


def other_point(one: ChallengeExchange) -> ChallengeExchange:
    first, *others = one.challenge.points
    points = (first.model_copy(update={"layer": 1 + first.layer % 3}), *others)
    return one.model_copy(update={"challenge": one.challenge.model_copy(update={"points": points})})


def fewer_points(one: ChallengeExchange) -> ChallengeExchange:
    challenge = one.challenge.model_copy(update={"points": one.challenge.points[:2]})
    return one.model_copy(update={"challenge": challenge})


def other_replay(one: ChallengeExchange) -> ChallengeExchange:
    place = one.challenge.replay.model_copy(update={"position": one.challenge.replay.position + 1})
    return one.model_copy(update={"challenge": one.challenge.model_copy(update={"replay": place})})


def other_seed(one: ChallengeExchange) -> ChallengeExchange:
    challenge = one.challenge.model_copy(update={"challenge_seed": sha256_hex(b"chosen")})
    return one.model_copy(update={"challenge": challenge})


@pytest.mark.parametrize("change", [other_point, fewer_points, other_replay, other_seed])
def test_a_challenge_that_was_not_drawn_so_is_named(epochs: Replayed, change: Change) -> None:
    publisher = epochs.resealed()
    first, *others = publisher.contents().exchanges
    publisher.lie_about_exchanges([change(first), *others])
    assert epochs.failing(chained=False) == {"challenges"}


def test_a_challenge_of_an_answer_without_a_verdict_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    first, *_ = exchanges = list(publisher.contents().exchanges)
    judged = {one.challenge.key for one in exchanges}
    chosen = next(one for one in publisher.requests() if one.key not in judged)
    about = {"request_id": chosen.request_id, "miner_hotkey": chosen.miner_hotkey}
    extra = ChallengeExchange(
        challenge=first.challenge.model_copy(update=about), answers=first.answers.model_copy(update=about)
    )
    publisher.lie_about_exchanges([*exchanges, extra])
    assert dict(epochs.faults(chained=False)) == {
        "challenges": f"{chosen.request_id} was challenged though it was not drawn"
    }


def test_a_challenge_that_is_not_published_is_missed(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    publisher.lie_about_exchanges(publisher.contents().exchanges[1:])
    assert epochs.failing(chained=False) == {"challenges"}


def without_signature(one: ChallengeExchange) -> ChallengeExchange:
    assert one.answers.opened
    opened = one.answers.opened.model_copy(update={"signature": None})
    return one.model_copy(update={"answers": one.answers.model_copy(update={"opened": opened})})


def other_sketch(one: ChallengeExchange) -> ChallengeExchange:
    """The publisher can change what a miner opened, but not sign it."""
    assert one.answers.opened
    first, *others = one.answers.opened.openings
    openings = (first.model_copy(update={"sketch": "AAAA" + first.sketch[4:]}), *others)
    opened = one.answers.opened.model_copy(update={"openings": openings})
    return one.model_copy(update={"answers": one.answers.model_copy(update={"opened": opened})})


def no_answer(one: ChallengeExchange) -> ChallengeExchange:
    return one.model_copy(update={"answers": one.answers.model_copy(update={"replayed": None})})


@pytest.mark.parametrize("change", [without_signature, other_sketch, no_answer])
def test_answers_that_are_not_the_miners_are_named(epochs: Replayed, change: Change) -> None:
    publisher = epochs.resealed()
    passed = {one.request_id for one in publisher.verdicts() if one.outcome == "pass"}
    changed = [
        change(one) if one.challenge.request_id in passed else one for one in publisher.contents().exchanges
    ]
    publisher.lie_about_exchanges(changed)
    assert epochs.failing(chained=False) == {"openings"}


def test_openings_that_the_miner_signed_and_never_committed_to_are_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    passed = next(one for one in publisher.verdicts() if one.outcome == "pass")

    def edited(one: ChallengeExchange) -> ChallengeExchange:
        if one.challenge.request_id != passed.request_id:
            return one
        opened = other_sketch(one).answers.opened
        assert opened
        signed = sign_answer(opened, MINERS[one.answers.miner_hotkey].signer)
        return one.model_copy(update={"answers": one.answers.model_copy(update={"opened": signed})})

    publisher.lie_about_exchanges([edited(one) for one in publisher.contents().exchanges])
    faults = dict(epochs.faults(chained=False))
    assert "is not what the receipt committed to" in faults["openings"]


def test_a_verdict_that_says_an_honest_commitment_does_not_open_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    texts = {one.request_id for one in publisher.contents().texts}
    failed = next(one for one in publisher.verdicts() if one.outcome == "fail" and one.request_id in texts)
    publisher.lie_about_verdicts(publisher.changed_verdict(failed.request_id, check="opening"))
    assert "openings" in epochs.failing(chained=False)


def test_a_missing_text_and_one_too_many_are_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    contents = publisher.contents()
    publisher.lie_with(replace(contents, texts=contents.texts[1:]))
    assert "texts" in epochs.failing(chained=False)
    hidden = next(one for one in contents.requests if not one.text_published)
    extra = contents.texts[0].model_copy(
        update={"request_id": hidden.request_id, "miner_hotkey": hidden.miner_hotkey}
    )
    publisher.lie_with(replace(contents, texts=[*contents.texts, extra]))
    assert "which its record denies" in dict(epochs.faults(chained=False))["texts"]


def test_other_words_than_the_record_has_the_digest_of_are_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    contents = publisher.contents()
    first, *others = contents.texts
    body = first.model_copy(update={"request_body": first.request_body + " "})
    publisher.lie_with(replace(contents, texts=[body, *others]))
    assert epochs.failing(chained=False) == {"texts"}
    choice = first.choices[0].model_copy(update={"output_token_ids": (1, 2, 3)})
    publisher.lie_with(replace(contents, texts=[first.model_copy(update={"choices": (choice,)}), *others]))
    assert "has other tokens than its record" in dict(epochs.faults(chained=False))["texts"]


def test_a_verdict_that_weighs_other_than_its_evidence_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    passed = next(one for one in publisher.verdicts() if one.outcome == "pass")
    publisher.lie_about_verdicts(publisher.changed_verdict(passed.request_id, log_e=passed.log_e - 1))
    assert "verdicts" in epochs.failing(chained=False)


def test_distances_of_other_points_than_were_asked_for_are_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    passed = next(one for one in publisher.verdicts() if one.outcome == "pass")
    publisher.lie_about_verdicts(publisher.changed_verdict(passed.request_id, points=()))
    assert "challenges" in epochs.failing(chained=False)


def test_other_constants_are_named(epochs: Replayed) -> None:
    epochs.resealed().lie(scoring=ScoringConfig(base_share=0.5, latency_share=0.1))
    assert "scores" in epochs.failing(chained=False)


def test_a_forgiven_past_is_named(epochs: Replayed) -> None:
    epochs.resealed(2).lie(history_after=())
    assert "history" in epochs.failing(chained=False)
    assert ("history", "epoch 3 does not start with the audit history before it") in epochs.faults(
        chained=False
    )


def test_another_secret_of_rounds_is_named(epochs: Replayed) -> None:
    assert epochs.resealed().summary().round_secret is not None
    epochs.resealed().lie(round_secret=sha256_hex(b"chosen"))
    assert "rounds" in epochs.failing(chained=False)
