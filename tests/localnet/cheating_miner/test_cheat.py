from dataclasses import replace

import orjson
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from localnet.cheating_miner.cheat import ChangedCapture, Cheat
from miners.errors import RequestRefused
from miners.hidden_states.engine_capture import CapturedChoice
from miners.service import Answers, Capture
from shared.canonical import canonical_json, token_ids_digest
from shared.challenges import OpenAnswer, OpenPoint, OpenRequest
from shared.receipts import check_receipt, parse_receipt
from tests.localnet.cheating_miner.rig import CHAT, ID, LAYERS, MODEL, Rig, token_ids
from tests.shared.keys import MINER


async def test_a_miner_that_changes_nothing_is_the_stock_miner() -> None:
    rig = Rig()
    answer = await rig.ask(seed=7)
    receipt = parse_receipt(orjson.dumps(answer.pop("receipt")))
    check_receipt(receipt)
    assert (receipt.request_id, receipt.hotkey, receipt.model) == (ID, MINER.ss58_address, MODEL)
    assert (receipt.seed, receipt.num_layers) == (7, LAYERS)
    assert receipt.choices[0].output_digest == token_ids_digest(rig.vllm.output)
    assert answer["choices"][0]["message"]["content"] == "Hi!"
    assert rig.vllm.asked == [(CHAT, rig.vllm.completions[0])]


async def test_a_stream_of_a_miner_that_changes_nothing_ends_with_its_receipt() -> None:
    events = await Rig().stream()
    assert token_ids(events) == [72, 105, 33, 2]
    check_receipt(parse_receipt(orjson.dumps(events[-1]["receipt"])))


class Noting(Cheat):
    """Notes the order in which its layers are met."""

    def __init__(self) -> None:
        self.met: list[str] = []

    def _note(self, name: str, app: ASGIApp) -> ASGIApp:
        async def noted(scope: Scope, receive: Receive, send: Send) -> None:
            self.met.append(name)
            await app(scope, receive, send)

        return noted

    def inside(self, app: ASGIApp) -> ASGIApp:
        return self._note("inside", app)

    def outside(self, app: ASGIApp) -> ASGIApp:
        return self._note("outside", app)

    def capture(self, capture: Capture) -> Capture:
        return _Emptied(capture)

    def answers(self, answers: Answers) -> Answers:
        return _Refusing()


class _Emptied(ChangedCapture):
    async def collect(self, request_id: str) -> list[CapturedChoice]:
        return [replace(one, sketches=bytes(len(one.sketches))) for one in await super().collect(request_id)]


class _Refusing:
    async def answer(self, body: bytes) -> bytes:
        raise RequestRefused(418, "no", "no")


async def test_each_place_of_a_cheat_is_used_where_it_says() -> None:
    cheat = Noting()
    rig = Rig(lambda parts: cheat)
    assert "receipt" in await rig.ask()
    assert cheat.met == ["outside", "inside"]
    held = rig.commitments.get(ID)
    assert held is not None
    assert not any(held.sketches)
    with pytest.raises(RequestRefused, match="no"):
        await rig.service.answers.answer(b"{}")


async def test_what_a_cheat_leaves_alone_reaches_the_engine() -> None:
    rig = Rig(lambda parts: Noting())
    capture = _Emptied(rig.engine)
    assert capture.shape == rig.engine.shape
    assert await capture.replay([1, 2], []) == []
    rig.engine.run(f"chatcmpl-{ID}", 20, 1, {})
    await capture.discard(ID)
    assert len(rig.engine.store) == 0


async def test_openings_come_from_the_commitments_that_the_service_keeps() -> None:
    rig = Rig()
    await rig.ask()
    held = rig.commitments.get(ID)
    assert held is not None
    point = held.points().points[0]
    asked = OpenPoint(choice=point.choice, position=point.position, layer=point.layer)
    body = canonical_json(OpenRequest(request_id=ID, points=(asked,)))
    answer = OpenAnswer.model_validate_json(await rig.service.answers.answer(body))
    assert len(answer.openings) == 1
