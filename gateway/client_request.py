"""A client's request: checked, and turned into what a miner is sent."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gateway.errors import invalid_request, model_not_found
from gateway.field_checks import check_fields
from gateway.message_checks import MAX_NESTING, check_messages
from gateway.provider_hints import ProviderHints, parse_provider_hints
from shared.inference_paths import CHAT_PATH
from shared.receipts import MAX_CHOICES

MAX_CONTAINERS = 100_000
"""Most lists and objects in one body, so that checking it stays within some 10 ms."""

SEED_LIMIT = 1 << 31
"""Fresh seeds are below this, which every sampler takes as it is."""

_INT64_LIMIT = 1 << 63
"""vLLM takes seeds that fit 64 signed bits."""

NOT_PASSED_ON = frozenset(
    {
        "request_id",
        "vllm_xargs",
        "kv_transfer_params",
        "ec_transfer_params",
        "cache_salt",
        "priority",
        "include_reasoning",
    }
)
"""Fields of vLLM that are the gateway's to decide, not a stranger's: the first names what is committed to,
the next three reach into the engine and its plugins, a salt would tell the client's requests apart
and defeat the prefix cache that others share, a priority would let one client overtake the rest, and without
its reasoning vLLM would leave out the token ids that an answer is counted and audited by."""

PROVENANCE_FIELD = "provenance"
"""Of a request, asking for it; of an answer or its last event, with it."""

OWN_FIELDS = frozenset({PROVENANCE_FIELD, "provider"})
"""Fields that ask something of the gateway; they would tell a miner which clients look at receipts, and which
requests were steered to it."""


class ClientRequest(NamedTuple):
    """A request that can be sent to any miner.

    Attributes:
        path: CHAT_PATH or COMPLETIONS_PATH.
        fields: the body's fields that are passed on.
        store: whether the text may be published.
        provenance: whether the answer is to name its receipt.
        provider: what it asks of the miner that serves it.
    """

    path: str
    fields: Mapping[str, Any]
    stream: bool
    seed: int | None
    store: bool
    provenance: bool = False
    provider: ProviderHints | None = None

    @property
    def shows_token_ids(self) -> bool:
        """Whether the client asked for token ids, which miners always send."""
        return self.fields.get("return_token_ids") is True


def parse_client_request(path: str, body: bytes, model: str, store_by_default: bool = True) -> ClientRequest:
    """Check a client's body.

    Raises:
        ApiError: 400 or 404; says which field is wrong, and what is expected.
    """
    return client_request(path, json_object(body), model, store_by_default)


def client_request(
    path: str, fields: dict[str, Any], model: str, store_by_default: bool = True
) -> ClientRequest:
    """Check the fields of a body, which may have been translated from another API's.

    Args:
        store_by_default: what a request without `store` means.

    Raises:
        ApiError: 400 or 404; says which field is wrong, and what is expected.
    """
    check_model(fields, model)
    check_fields(fields)
    if path == CHAT_PATH:
        check_messages(fields)
    _check_choices(fields, 1 if path == CHAT_PATH else _count_prompts(fields))
    passed_on = {name: value for name, value in fields.items() if name not in NOT_PASSED_ON | OWN_FIELDS}
    return ClientRequest(
        path=path,
        fields=passed_on | {"model": model},
        stream=_flag(fields, "stream", default=False),
        seed=_seed(fields),
        store=_flag(fields, "store", default=store_by_default),
        provenance=_flag(fields, PROVENANCE_FIELD, default=False),
        provider=parse_provider_hints(fields.get("provider")),
    )


def miner_body(request: ClientRequest, request_id: str, seed: int) -> bytes:
    """The body for one attempt at one miner."""
    own = {"request_id": request_id, "seed": seed, "return_token_ids": True}
    return orjson.dumps({**request.fields, **own})


def json_object(body: bytes) -> dict[str, Any]:
    """A body's JSON object, of bounded depth.

    Raises:
        ApiError: 400; it is something else.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise invalid_request(f"The body is not JSON: {error}.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise invalid_request("The body must be a JSON object.")
    _check_nesting(value)
    return value


def _check_nesting(value: dict[str, Any]) -> None:
    level: list[Any] = [value]
    containers = 0
    for _ in range(MAX_NESTING):
        containers += len(level)
        if containers > MAX_CONTAINERS:
            raise invalid_request(f"The body has more than {MAX_CONTAINERS} lists and objects.")
        level = [child for parent in level for child in _containers_in(parent)]
        if not level:
            return
    raise invalid_request(f"The body nests lists and objects more than {MAX_NESTING} deep.")


def _containers_in(parent: Any) -> list[Any]:
    values = parent.values() if isinstance(parent, dict) else parent
    return [value for value in values if isinstance(value, (dict, list))]


def check_model(fields: Mapping[str, Any], model: str) -> None:
    """Check that a request is for the model that is served; one that names none is.

    Raises:
        ApiError: 400 or 404.
    """
    asked = fields.get("model")
    if asked is None:
        return
    if not isinstance(asked, str):
        raise invalid_request("model must be a string.", "model")
    if asked != model:
        raise model_not_found(asked[:256], model)


def _count_prompts(fields: Mapping[str, Any]) -> int:
    """One for a text or a list of token ids; as many as there are otherwise."""
    prompt = fields.get("prompt")
    if isinstance(prompt, str):
        return 1
    if not isinstance(prompt, list) or not prompt:
        raise invalid_request("prompt must be a text, or a list of texts or of token ids.", "prompt")
    if all(type(item) is int for item in prompt):
        return 1
    if all(isinstance(item, str) for item in prompt) or all(_is_token_ids(item) for item in prompt):
        return len(prompt)
    raise invalid_request("prompt mixes texts and token ids; send one kind.", "prompt")


def _is_token_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)


def _check_choices(fields: Mapping[str, Any], prompts: int) -> None:
    asked = fields.get("n")
    count = 1 if asked is None else asked
    if type(count) is not int or count < 1:
        raise invalid_request("n must be a whole number from 1.", "n")
    if count * prompts > MAX_CHOICES:
        raise invalid_request(
            f"The answer would have {count * prompts} choices; {MAX_CHOICES} is the most.", "n"
        )


def _flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise invalid_request(f"{name} must be true or false.", name)
    return value


def _seed(fields: Mapping[str, Any]) -> int | None:
    """The client's seed; None when it gives none, or -1, which vLLM takes for none."""
    seed = fields.get("seed")
    if seed is None or seed == -1:
        return None
    if type(seed) is not int or not -_INT64_LIMIT <= seed < _INT64_LIMIT:
        raise invalid_request("seed must be a whole number of 64 bits.", "seed")
    return seed
