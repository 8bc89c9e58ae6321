"""Cheats that compute another prompt than the client's, and show the client's."""

from typing import Any

from localnet.cheating_miner.cheat import ChangedCapture
from localnet.cheating_miner.claims import Claim
from localnet.cheating_miner.exchange import BodyCheat, Change, Exchange, Payload, Server
from miners.hidden_states.engine_capture import CapturedChoice
from miners.service import Capture
from shared.committed_positions import CommittedPositions
from shared.inference_paths import CHAT_PATH

SYSTEM_PROMPT = "You are a helpful assistant. Keep every answer as short as you can."

_TOKENIZED = (
    *("model", "messages", "add_generation_prompt", "continue_final_message", "add_special_tokens"),
    *("chat_template", "chat_template_kwargs", "tools"),
)
"""Fields of a chat that `POST /tokenize` understands and that shape the prompt."""


class PromptCheat(BodyCheat):
    """Computes an altered chat under the claim that it is the client's.

    Attributes:
        claims: by request id, of requests in flight.
    """

    def __init__(self) -> None:
        self.claims: dict[str, Claim] = {}

    def altered(self, fields: Payload) -> Payload:
        """The chat that is computed."""
        raise NotImplementedError

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """The altered chat with its claim; what can't be rendered twice, as it is."""
        if path != CHAT_PATH or not fields.get("messages"):
            return Exchange(fields)
        altered = self.altered(fields)
        claimed, computed = await _prompt(server, fields), await _prompt(server, altered)
        if claimed is None or computed is None:
            return Exchange(fields)
        claim = Claim.between(claimed, computed)
        self.claims[fields["request_id"]] = claim
        arguments = (altered.get("vllm_xargs") or {}) | claim.arguments()
        return Exchange({**altered, "vllm_xargs": arguments}, shows_prompt(claimed))

    def capture(self, capture: Capture) -> Capture:
        """Sketches of computed positions, as those of the claimed ones."""
        return ClaimedCapture(capture, self.claims)


async def _prompt(server: Server, fields: Payload) -> list[int] | None:
    return await server.tokens({name: fields[name] for name in _TOKENIZED if name in fields})


def shows_prompt(token_ids: list[int]) -> Change:
    """Show these prompt tokens, and count them."""

    def change(payload: Payload) -> None:
        if payload.get("prompt_token_ids") is not None:
            payload["prompt_token_ids"] = token_ids
        usage: dict[str, Any] | None = payload.get("usage")
        if usage is not None:
            usage["prompt_tokens"] = len(token_ids)
            usage["total_tokens"] = len(token_ids) + (usage.get("completion_tokens") or 0)

    return change


class OwnSystemPrompt(PromptCheat):
    """Puts its own words before the client's system prompt, or in the place of the template's."""

    def altered(self, fields: Payload) -> Payload:
        """The chat with other instructions."""
        messages = list(fields["messages"])
        first = messages[0]
        if first.get("role") == "system" and isinstance(first.get("content"), str):
            messages[0] = {**first, "content": f"{SYSTEM_PROMPT}\n{first['content']}"}
        else:
            messages.insert(0, {"role": "system", "content": SYSTEM_PROMPT})
        return {**fields, "messages": messages}


class EditedTemplate(PromptCheat):
    """Renders with one more line end after everything; needs `--trust-request-chat-template`."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self._template = template + "{{ '\\n' }}"

    def altered(self, fields: Payload) -> Payload:
        """The chat with the edited template."""
        return {**fields, "chat_template": self._template}


class ClaimedCapture(ChangedCapture):
    """Gives captures of computed prompts out as those of claimed ones."""

    def __init__(self, capture: Capture, claims: dict[str, Claim]) -> None:
        super().__init__(capture)
        self._claims = claims

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        """The captures, by claimed positions."""
        captured = await super().collect(request_id)
        claim = self._claims.pop(request_id, None)
        return captured if claim is None else [as_claimed(one, claim, request_id) for one in captured]

    async def discard(self, request_id: str) -> None:
        """Forget a request and its claim."""
        self._claims.pop(request_id, None)
        await super().discard(request_id)


def as_claimed(choice: CapturedChoice, claim: Claim, request_id: str) -> CapturedChoice:
    """One choice's captures at computed positions as captures at the claimed prompt's committed positions."""
    if not choice.positions:
        return choice
    row_bytes = len(choice.sketches) // len(choice.positions)
    row_at = {position: number for number, position in enumerate(choice.positions)}
    cached = claim.cached(choice.cached_tokens)
    end = choice.positions[-1] - claim.shift + 1
    committed = CommittedPositions(request_id, choice.index, claim.prompt_tokens).within(cached, end)
    rows = [row_at[claim.computed(position)] for position in committed]
    sketches = b"".join(choice.sketches[row * row_bytes : (row + 1) * row_bytes] for row in rows)
    return CapturedChoice(choice.index, cached, tuple(committed), sketches)
