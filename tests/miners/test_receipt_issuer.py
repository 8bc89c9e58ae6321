import logging
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.commitment_store import CommitmentStore
from miners.completion_request import CompletionRequest
from miners.errors import CaptureMismatch
from miners.hidden_states.engine_capture import CapturedChoice
from miners.receipt_issuer import MinerIdentity, ReceiptIssuer, ResponseTimes, commitment_of
from miners.response_tokens import ResponseTokens
from shared.canonical import sha256_hex, token_ids_digest
from shared.committed_positions import committed_positions
from shared.errors import SignatureMismatch
from shared.receipts import check_receipt
from shared.sampling_noise import SAMPLER
from shared.sketches import SKETCH_BYTES
from tests.miners.captures import NUM_LAYERS, RecordedCaptures, captured
from tests.shared.keys import MINER, OTHER_MINER

ID = "request-0001"
IDENTITY = MinerIdentity(MINER.ss58_address, "tiny", NUM_LAYERS, 8, sha256_hex(b"calibration"))
REQUEST = CompletionRequest(ID, sha256_hex(b"body"), 7, b"body")
TIMES = ResponseTimes(1000, 1050, 1200)


def response(**choices: tuple[int, int]) -> ResponseTokens:
    """Lengths of prompt and output of choices c0, c1, …"""
    tokens = ResponseTokens()
    for number, (prompt, output) in enumerate(choices.values()):
        tokens.prompt[number] = list(range(100, 100 + prompt))
        tokens.output[number] = list(range(500, 500 + output))
    return tokens


def issuer(*choices: CapturedChoice) -> tuple[ReceiptIssuer, CommitmentStore, RecordedCaptures]:
    store = CommitmentStore(1 << 20, 100.0, lambda: 0.0)
    captures = RecordedCaptures({ID: list(choices)})
    return ReceiptIssuer(IDENTITY, MINER, captures, store), store, captures


async def test_a_receipt_states_what_was_served_and_leads_to_the_commitment() -> None:
    issues, store, captures = issuer(captured(ID, 0, 20, 40))
    receipt = await issues.issue(REQUEST, response(c0=(20, 40)), TIMES)
    assert receipt is not None
    check_receipt(receipt)
    assert (receipt.request_id, receipt.request_digest, receipt.seed) == (ID, sha256_hex(b"body"), 7)
    assert (receipt.hotkey, receipt.model, receipt.sampler) == (MINER.ss58_address, "tiny", SAMPLER)
    assert receipt.calibration_digest == IDENTITY.calibration_digest
    assert (receipt.received_at_ms, receipt.first_token_at_ms, receipt.finished_at_ms) == (1000, 1050, 1200)
    (choice,) = receipt.choices
    assert (choice.prompt_tokens, choice.output_tokens, choice.cached_tokens) == (20, 40, 0)
    assert choice.prompt_digest == token_ids_digest(range(100, 120))
    assert choice.output_digest == token_ids_digest(range(500, 540))
    held = store.get(ID)
    assert held is not None
    assert receipt.merkle_root == held.tree().root.hex()
    assert receipt.leaves == len(held.points()) == len(committed_positions(ID, 0, 20, 40, 0)) * NUM_LAYERS
    assert issues.is_answered(ID)
    assert captures.held == {}


async def test_a_receipt_checked_against_another_hotkey_fails() -> None:
    issues, _, _ = issuer(captured(ID, 0, 20, 4))
    receipt = await issues.issue(REQUEST, response(c0=(20, 4)), TIMES)
    assert receipt is not None
    with pytest.raises(SignatureMismatch):
        check_receipt(receipt.model_copy(update={"hotkey": OTHER_MINER.ss58_address}))


async def test_several_choices_are_covered_each_with_its_own_cached_prefix() -> None:
    issues, _, _ = issuer(captured(ID, 1, 33, 5, cached=16), captured(ID, 0, 20, 9))
    receipt = await issues.issue(REQUEST, response(c0=(20, 9), c1=(33, 5)), TIMES)
    assert receipt is not None
    assert [(c.index, c.cached_tokens) for c in receipt.choices] == [(0, 0), (1, 16)]


@given(st.integers(1, 100), st.integers(0, 80), st.integers(0, 3))
def test_what_was_captured_beyond_the_output_is_cut_off(prompt: int, output: int, overshoot: int) -> None:
    exact = captured(ID, 0, prompt, output)
    beyond = captured(ID, 0, prompt, max(output, 1) + overshoot)
    tokens = response(c0=(prompt, output))
    assert commitment_of(ID, NUM_LAYERS, tokens, [beyond]) == commitment_of(ID, NUM_LAYERS, tokens, [exact])


def test_a_missing_position_is_refused() -> None:
    whole = captured(ID, 0, 20, 40)
    row = NUM_LAYERS * SKETCH_BYTES
    for missing in range(len(whole.positions)):
        positions = whole.positions[:missing] + whole.positions[missing + 1 :]
        sketches = whole.sketches[: missing * row] + whole.sketches[(missing + 1) * row :]
        with pytest.raises(CaptureMismatch, match="are to be covered"):
            commitment_of(
                ID,
                NUM_LAYERS,
                response(c0=(20, 40)),
                [replace(whole, positions=positions, sketches=sketches)],
            )


@pytest.mark.parametrize(
    "wrong",
    [
        replace(captured(ID, 0, 20, 40), sketches=captured(ID, 0, 20, 40).sketches[:-1]),
        replace(captured(ID, 0, 20, 40), cached_tokens=19),
        captured("another-id", 0, 20, 40),
        replace(captured(ID, 0, 20, 40), index=1),
        captured(ID, 0, 20, 4),
    ],
)
def test_captures_that_do_not_fit_the_response_are_refused(wrong: CapturedChoice) -> None:
    with pytest.raises(CaptureMismatch):
        commitment_of(ID, NUM_LAYERS, response(c0=(20, 40)), [wrong])


@pytest.mark.parametrize("tokens", [ResponseTokens(), ResponseTokens({}, {0: [1]}), ResponseTokens({0: [1]})])
def test_a_response_without_token_ids_is_refused(tokens: ResponseTokens) -> None:
    with pytest.raises(CaptureMismatch):
        commitment_of(ID, NUM_LAYERS, tokens, [captured(ID, 0, 1, 1)])


async def test_no_receipt_is_better_than_a_wrong_one(caplog: pytest.LogCaptureFixture) -> None:
    issues, store, _ = issuer(captured(ID, 0, 20, 4))
    with caplog.at_level(logging.ERROR):
        assert await issues.issue(REQUEST, response(c0=(20, 40)), TIMES) is None
    assert len(store) == 0
    assert f"{ID} goes without a receipt" in caplog.text


async def test_discarding_makes_the_engine_forget() -> None:
    issues, _, captures = issuer(captured(ID, 0, 20, 4))
    await issues.discard(ID)
    assert captures.held == {}
    assert captures.discarded == [ID]
