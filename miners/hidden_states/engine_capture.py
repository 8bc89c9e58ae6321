"""The API server's half: asks the engine's workers for what they captured, and runs replays."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miners.hidden_states.capture_store import REPLAY_POSITIONS
from miners.hidden_states.request_names import REPLAY_PREFIX
from shared.challenges import ReplayPoint
from shared.errors import ModelError

WORKER_EXTENSION = "miners.hidden_states.worker.CaptureWorkerExtension"
"""For vLLM's `--worker-extension-cls`."""

CONCURRENT_REPLAYS = 2
"""Replays in the engine at a time: challenges must not starve clients."""

BFLOAT16_BYTES = 2


@dataclass(frozen=True)
class ModelShape:
    """Decoder layers and hidden size of the served model."""

    num_layers: int
    hidden_size: int


@dataclass(frozen=True)
class CapturedChoice:
    """What the engine captured for one choice of a request.

    Attributes:
        index: the choice's index in the response.
        cached_tokens: leading positions that the prefix cache supplied, never computed.
        positions: committed positions that were computed, ascending; may reach one step beyond the output.
        sketches: by position, then layer 1 … num_layers, 128 bytes each.
    """

    index: int
    cached_tokens: int
    positions: tuple[int, ...]
    sketches: bytes


class EngineCapture:
    """Captures of one engine, over vLLM's engine client."""

    def __init__(self, engine_client: Any) -> None:
        self._engine = engine_client
        self._replays = asyncio.Semaphore(CONCURRENT_REPLAYS)
        self._shape: ModelShape | None = None

    @property
    def shape(self) -> ModelShape:
        """The served model's shape.

        Raises:
            ModelError: `install` has not been called.
        """
        if self._shape is None:
            raise ModelError("capture is not installed yet")
        return self._shape

    async def _first(self, method: str, *args: Any) -> Any:
        answers = await self._engine.collective_rpc(method, args=args)
        return next((answer for answer in answers if answer is not None), None)

    async def install(self, calibration_file: Path) -> ModelShape:
        """Start to capture.

        Raises:
            ModelError: the engine can't be captured, or the calibration is another model's.
        """
        answer = await self._first("constantinople_install", str(calibration_file))
        if isinstance(answer, str):
            raise ModelError(answer)
        num_layers, hidden_size = answer
        self._shape = ModelShape(int(num_layers), int(hidden_size))
        await self._check_layers()
        return self._shape

    async def _check_layers(self) -> None:
        """A model that skips the hook, or a graph compiled without it, would leave its layers untouched."""
        points = [ReplayPoint(position=0, layer=layer) for layer in range(self.shape.num_layers + 1)]
        vectors = await self.replay([0], points)
        untouched = [point.layer for point, data in zip(points, vectors, strict=True) if not any(data)]
        if untouched or len(set(vectors)) < len(vectors):
            raise ModelError(
                f"the model does not pass every layer to the capture hook (layers {untouched or 'repeat'}); "
                "serve a Qwen2 or Llama model, or clear vLLM's compile cache"
            )

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        """The captures of a finished request, by choice; the workers forget them."""
        collected = await self._first("constantinople_collect", request_id) or []
        return [
            CapturedChoice(int(index), int(cached), tuple(positions), bytes(sketches))
            for index, cached, positions, sketches in collected
        ]

    async def discard(self, request_id: str) -> None:
        """Make the workers forget an aborted request."""
        await self._first("constantinople_collect", request_id)

    async def enable(self, enabled: bool) -> None:
        """Capture requests that start from now on, or don't; for measurements."""
        await self._engine.collective_rpc("constantinople_enable", args=(enabled,))

    async def held(self) -> tuple[int, int]:
        """(requests, bytes) that the workers hold."""
        requests, size = await self._first("constantinople_size")
        return int(requests), int(size)

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        """Hidden vectors of `token_ids` at `points`, computed by this engine in one prefill.

        Returns:
            little-endian bfloat16, hidden_size numbers each, in the order of `points`.

        Raises:
            ValueError: a point lies outside the model or the tokens, or the model can't take the tokens.
        """
        self._check_tokens(token_ids)
        for point in points:
            if point.position >= len(token_ids) or point.layer > self.shape.num_layers:
                raise ValueError(
                    f"position {point.position}, layer {point.layer} is outside "
                    f"{len(token_ids)} tokens and {self.shape.num_layers} layers"
                )
        needed = list(token_ids[: 1 + max(point.position for point in points)])
        async with self._replays:
            rows = await self._run(needed, sorted({point.position for point in points}))
        width = self.shape.hidden_size * BFLOAT16_BYTES
        return [rows[p.position][p.layer * width : (p.layer + 1) * width] for p in points]

    def _check_tokens(self, token_ids: Sequence[int]) -> None:
        """An id beyond the embedding's rows would end the engine, not only the request."""
        config = self._engine.model_config
        vocabulary, longest = config.get_vocab_size(), config.max_model_len - 1
        if not 1 <= len(token_ids) <= longest:
            raise ValueError(f"{len(token_ids)} tokens can't be replayed; the engine takes 1 to {longest}")
        if not all(0 <= token < vocabulary for token in token_ids):
            raise ValueError(f"a token id is outside the vocabulary of {vocabulary}")

    async def _run(self, token_ids: list[int], positions: list[int]) -> dict[int, bytes]:
        from vllm import SamplingParams

        replay_id = f"{REPLAY_PREFIX}{uuid.uuid4().hex}"
        sampling = SamplingParams(
            max_tokens=1,
            temperature=0,
            extra_args={REPLAY_POSITIONS: positions},
            skip_reading_prefix_cache=True,
            detokenize=False,
        )
        async for _ in self._engine.generate({"prompt_token_ids": token_ids}, sampling, replay_id):
            pass
        rows = dict(await self._first("constantinople_replayed", replay_id) or [])
        if set(rows) != set(positions):
            raise ModelError(f"the engine replayed {len(rows)} of {len(positions)} positions")
        return {int(position): bytes(row) for position, row in rows.items()}
