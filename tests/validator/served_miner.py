"""The example miner behind real HTTP: it answers inference requests and challenges, as a miner does."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from shared.canonical import canonical_json
from shared.challenges import CHALLENGE_PATH, OpenRequest, parse_challenge
from shared.inference_paths import CHAT_PATH
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.validator.example_miner import ExampleMiner, Written
from tests.validator.scripted_http import ScriptedServer, SeenRequest, response, scripted_server
from validator.sampling_rules import SamplingRule


class ServedMiner(ExampleMiner):
    """Keeps what it wrote, because a record holds texts by digest only."""

    written: list[Written]

    def _write(self, rule: SamplingRule, prompt: Sequence[int], choice: int) -> Written:
        one = super()._write(rule, prompt, choice)
        self.written = [*getattr(self, "written", []), one]
        return one

    def health(self) -> dict[str, str]:
        """What a miner says of itself."""
        return {
            "status": "ok",
            "model": TINY_MODEL,
            "hotkey": self.signer.ss58_address,
            "calibration_digest": self.calibration.digest,
        }

    def serve(self, request: SeenRequest) -> bytes:
        """The response to a request."""
        if request.target == CHALLENGE_PATH:
            challenge = parse_challenge(request.body)
            given = self.open(challenge) if isinstance(challenge, OpenRequest) else self.replay(challenge)
            return response(200, canonical_json(given))
        if request.target == "/health":
            return response(200, json.dumps(self.health()).encode())
        body = json.loads(request.body)
        self.written = []
        # A receipt is about the very bytes of the request, which json.dumps of the parsed body gives again.
        record = self.answer(body, request.target)
        whole = _whole(record, self.written, request.target == CHAT_PATH, body["stream"])
        if not body["stream"]:
            return response(200, json.dumps(whole).encode())
        return response(200, f"data: {json.dumps(whole)}\n\ndata: [DONE]\n\n".encode())


def _whole(record: RequestRecord, written: Sequence[Written], chat: bool, streamed: bool) -> dict[str, Any]:
    def text(one: Written) -> dict[str, Any]:
        part = {"content": one.text}
        return {"delta" if streamed else "message": part} if chat else {"text": one.text}

    choices = [
        {
            "index": choice.index,
            "prompt_token_ids": list(choice.prompt_token_ids),
            "token_ids": list(choice.output_token_ids),
            "finish_reason": choice.finish_reason,
            **text(one),
        }
        for choice, one in zip(record.choices, written, strict=True)
    ]
    return {"choices": choices, "receipt": record.receipt}


@asynccontextmanager
async def serving(miner: ServedMiner) -> AsyncIterator[ScriptedServer]:
    """The miner on a free port."""

    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(await asyncio.to_thread(miner.serve, request))

    async with scripted_server(script) as server:
        yield server
