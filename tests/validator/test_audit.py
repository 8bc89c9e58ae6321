import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from localnet.cheats import write_int4_model
from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    OpenAnswer,
    OpenRequest,
    ReplayAnswer,
    ReplayRequest,
    parse_challenge,
    sign_answer,
)
from shared.commitments import Commitment
from shared.errors import ChainUnavailable, ModelError
from shared.reference_model import ReferenceModel
from tests.models import TINY_MODEL
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR
from tests.validator.example_audit import (
    AUDITED_AT_MS,
    BLOCK,
    answering,
    assert_fails,
    assert_passes,
    auditor,
    no_doubt,
    statistic,
    verdict_on,
)
from tests.validator.example_calibration import bare_calibration, tiny_calibration, tiny_noise
from tests.validator.example_miner import DistortedMiner, ExampleMiner
from tests.validator.example_model import answer_checks, chat_body, reference
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from validator.audit import Auditor
from validator.challenge_selection import record_seed
from validator.evidence import FAIL_P_VALUE, PROVEN_LOG_E, UNANSWERED_LOG_E, log_e_value
from validator.miner_client import MinerClient, http_client
from validator.reference_worker import ReferenceWorker

CLOSED_PORT = "127.0.0.1:1"


def miner(**options: Any) -> ExampleMiner:
    return ExampleMiner(tiny_calibration(), **options)


def distorted(kind: str) -> DistortedMiner:
    return DistortedMiner(DISTORTIONS[kind], tiny_calibration())


@pytest.mark.parametrize("number", range(12))
async def test_an_honest_miner_passes(number: int) -> None:
    honest = miner()
    record = honest.answer(chat_body(number, n=1 + number % 2), cached_tokens=16 * (number % 2))
    verdict = await verdict_on(record, answering(honest))
    assert_passes(verdict)
    assert [one.statistic for one in verdict.evidence] == ["typical", "mean", "replay", "tokens"]
    assert min(one.p_value for one in verdict.evidence) >= FAIL_P_VALUE
    assert verdict.log_e == pytest.approx(log_e_value(verdict.evidence))
    committed = len(honest.commitments[record.request_id].points())
    assert 0 < len(verdict.points) <= min(tiny_noise().points, committed)
    assert verdict.tokens is not None
    assert verdict.tokens.checked == record.output_tokens
    assert verdict.tokens.unchecked == ""


async def test_a_verdict_names_everything_that_it_was_drawn_from() -> None:
    honest = miner()
    record = honest.answer(chat_body(1))
    verdict = await verdict_on(record, answering(honest))
    assert verdict.request_id == record.request_id
    assert (verdict.miner_uid, verdict.miner_hotkey) == (record.miner_uid, record.miner_hotkey)
    assert (verdict.challenge_block, verdict.challenge_block_hash) == (BLOCK.number, BLOCK.hash)
    assert verdict.challenge_seed == record_seed(record, BLOCK)
    assert verdict.audited_at_ms == AUDITED_AT_MS
    assert verdict.version == "verdict/4"
    assert len({(point.choice, point.position, point.layer) for point in verdict.points}) == 32


async def test_honest_audits_speak_for_the_miner_on_the_whole() -> None:
    honest = miner()
    records = [honest.answer(chat_body(number)) for number in range(8)]
    verdicts = [await verdict_on(record, answering(honest)) for record in records]
    assert sum(verdict.log_e for verdict in verdicts) < 0


DISTORTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "random": lambda states, layer: torch.randn(states.shape, generator=torch.Generator().manual_seed(layer)),
    "zero": lambda states, layer: torch.zeros_like(states),
    "shuffled": lambda states, layer: states.flip(-1),
    "of the neighbouring tokens": lambda states, layer: states.roll(1, 0),
    "with a tenth of noise": lambda states, layer: states * (1 + 0.1 * torch.randn(states.shape)),
    "constant": lambda states, layer: torch.ones_like(states),
    "cheap above the lower half": lambda states, layer: states if layer <= 2 else states * 0 + 1,
    "cheap in the last layer": lambda states, layer: states if layer < 4 else states.flip(-1),
}


@pytest.mark.parametrize("kind", DISTORTIONS)
async def test_hidden_states_fail_that_are(kind: str) -> None:
    cheat = distorted(kind)
    verdict = await verdict_on(cheat.answer(chat_body(2)), answering(cheat))
    assert verdict.outcome == "fail", verdict.reason
    assert verdict.check in ("sketch", "replay", "opening")


async def test_weights_rounded_to_four_bits_fail(tmp_path: Path, tiny_model_folder: Path) -> None:
    folder = write_int4_model(tiny_model_folder, tmp_path / "rounded")
    cheat = miner(engine=ReferenceModel.load(str(folder), dtype=torch.bfloat16))
    verdict = await verdict_on(cheat.answer(chat_body(2)), answering(cheat))
    assert_fails(verdict, "sketch")
    assert statistic(verdict, "typical").score > 10 * tiny_noise().typical.score_at(FAIL_P_VALUE)
    assert verdict.log_e == pytest.approx(log_e_value(verdict.evidence))
    assert verdict.log_e > PROVEN_LOG_E / 2


async def test_the_true_model_that_is_loaded_only_when_challenged_comes_too_late(
    tmp_path: Path, tiny_model_folder: Path
) -> None:
    """Late computation: what is opened is what was committed to while serving."""
    folder = write_int4_model(tiny_model_folder, tmp_path / "rounded")
    cheat = miner(engine=ReferenceModel.load(str(folder), dtype=torch.bfloat16))
    record = cheat.answer(chat_body(2))
    honest = miner()
    honest.answer(chat_body(2))
    verdict = await verdict_on(record, answering(honest))
    assert_fails(verdict, "opening")


async def test_true_sketches_do_not_excuse_a_false_replay() -> None:
    honest, cheat = miner(), distorted("shuffled")
    record = honest.answer(chat_body(2))

    def answer(challenge: OpenRequest | ReplayRequest) -> OpenAnswer | ReplayAnswer:
        return honest.open(challenge) if isinstance(challenge, OpenRequest) else cheat.replay(challenge)

    verdict = await verdict_on(record, answer)
    assert_fails(verdict, "replay")
    assert statistic(verdict, "typical").p_value >= FAIL_P_VALUE > statistic(verdict, "replay").p_value


async def test_an_unopened_point_fails() -> None:
    honest = miner()
    record = honest.answer(chat_body(2))

    def answer(challenge: OpenRequest | ReplayRequest) -> OpenAnswer | ReplayAnswer:
        if isinstance(challenge, ReplayRequest):
            return honest.replay(challenge)
        whole = honest.open(challenge)
        return sign_answer(whole.model_copy(update={"openings": whole.openings[1:]}), MINER)

    assert_fails(await verdict_on(record, answer), "opening")


async def test_sketches_of_another_request_fail() -> None:
    honest = miner()
    record, other = honest.answer(chat_body(2)), honest.answer(chat_body(3))
    held = honest.commitments[record.request_id]
    sketches = (honest.commitments[other.request_id].sketches * 2)[: len(held.sketches)]
    honest.commitments[record.request_id] = replace(held, sketches=sketches)
    assert_fails(await verdict_on(record, answering(honest)), "opening")


async def test_a_commitment_of_other_tokens_fails() -> None:
    honest = miner()
    record = honest.answer(chat_body(2))
    held: Commitment = honest.commitments[record.request_id]
    other = {choice: [token + 1 for token in ids] for choice, ids in held.token_ids.items()}
    honest.commitments[record.request_id] = replace(held, token_ids=other)
    assert_fails(await verdict_on(record, answering(honest)), "opening")


async def test_an_answer_by_another_hotkey_fails() -> None:
    honest = miner()
    record = honest.answer(chat_body(2))
    other = miner(signer=OTHER_MINER)
    other.commitments = honest.commitments
    assert_fails(await verdict_on(record, answering(other)), "answer")


async def test_a_record_without_a_valid_receipt_fails_without_a_challenge() -> None:
    record = miner().answer(chat_body(2)).model_copy(update={"receipt": None})
    async with auditor() as audits:
        verdict = (await audits.audit(record, CLOSED_PORT, BLOCK)).verdict
    assert_fails(verdict, "receipt")
    assert (verdict.points, verdict.evidence, verdict.tokens) == ((), (), None)
    assert verdict.log_e == PROVEN_LOG_E


async def test_an_answer_to_another_prompt_fails_without_a_challenge() -> None:
    """The system prompt stripped, the receipt made for the request as it was sent."""
    asked = chat_body(2)
    text = json.dumps({**asked, "messages": [{"role": "system", "content": "S"}, *asked["messages"]]})
    record = miner().answer(asked, request_digest=sha256_hex(text.encode()))
    async with auditor() as audits:
        verdict = (
            await audits.audit(record.model_copy(update={"request_body": text}), CLOSED_PORT, BLOCK)
        ).verdict
    assert_fails(verdict, "prompt")


async def test_a_request_that_can_not_be_rendered_again_is_inconclusive() -> None:
    honest = miner()
    record = honest.answer(chat_body(2))
    body = record.request_body[:-1] + ', "suffix": "x"}'
    stated = honest.answer(chat_body(2), request_digest=sha256_hex(body.encode()))
    async with auditor() as audits:
        verdict = (
            await audits.audit(stated.model_copy(update={"request_body": body}), CLOSED_PORT, BLOCK)
        ).verdict
    assert (verdict.outcome, verdict.check, verdict.log_e) == ("inconclusive", "request", 0.0)
    assert "suffix" in verdict.reason


@pytest.mark.parametrize(
    ("answer", "words", "log_e"),
    [
        (
            response(404, b'{"error":{"message":"unknown request"}}'),
            "HTTP 404: unknown request",
            PROVEN_LOG_E,
        ),
        (response(503, b""), "after retries", UNANSWERED_LOG_E),
        (response(200, b"{}"), "not valid", PROVEN_LOG_E),
        (b"", "after retries", UNANSWERED_LOG_E),
    ],
)
async def test_not_answering_fails_whatever_the_way(answer: bytes, words: str, log_e: float) -> None:
    record = miner().answer(chat_body(2))
    verdict = await verdict_on(record, lambda challenge: answer)
    assert_fails(verdict, "answer")
    assert words in verdict.reason
    assert verdict.log_e == log_e


async def test_a_miner_without_an_address_fails() -> None:
    record = miner().answer(chat_body(2))
    async with auditor() as audits:
        assert_fails((await audits.audit(record, "", BLOCK)).verdict, "answer")


async def test_nobody_is_blamed_while_the_auditor_itself_is_cut_off() -> None:
    async def cut_off() -> None:
        raise ChainUnavailable("no network")

    record = miner().answer(chat_body(2))
    async with auditor(confirm_blame=cut_off) as audits:
        with pytest.raises(ChainUnavailable):
            await audits.audit(record, CLOSED_PORT, BLOCK)


async def test_a_reference_that_can_not_be_loaded_is_not_the_miners_fault() -> None:
    def missing() -> ReferenceModel:
        raise ModelError("no such model")

    record = miner().answer(chat_body(2))
    async with auditor(load=missing) as audits:
        with pytest.raises(ModelError, match="no such model"):
            await audits.audit(record, CLOSED_PORT, BLOCK)


async def test_a_calibration_without_noise_can_not_judge() -> None:
    worker = ReferenceWorker(reference)
    async with http_client() as http:
        client = MinerClient(VALIDATOR, http, allow_local=True)
        with pytest.raises(ModelError, match="--stage noise"):
            Auditor(client, worker, answer_checks(), bare_calibration(), TINY_MODEL, lambda: 0, no_doubt)
    worker.close()


async def test_audits_at_once_do_not_disturb_each_other() -> None:
    honest = miner()
    records = [honest.answer(chat_body(number)) for number in range(6)]
    cheat = distorted("random")
    cheated = [cheat.answer(chat_body(number)) for number in range(10, 14)]

    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        challenge = parse_challenge(request.body)
        both = [honest, cheat]
        if isinstance(challenge, OpenRequest):
            both = [m for m in both if challenge.request_id in m.commitments]
        writer.write(response(200, canonical_json(answering(both[0])(challenge))))

    async with scripted_server(script) as server, auditor() as audits:
        reports = await asyncio.gather(
            *(audits.audit(record, server.axon, BLOCK) for record in [*records, *cheated])
        )
    assert [report.verdict.outcome for report in reports] == ["pass"] * 6 + ["fail"] * 4
