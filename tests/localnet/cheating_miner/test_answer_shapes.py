"""The payloads that vLLM 0.32 was seen to send, field for field and in its order."""

from typing import Any

import orjson

from localnet.cheating_miner.answer_shapes import AnswerShape, WrittenChoice
from tests.localnet.cheating_miner.rig import CHAT, COMPLETIONS

COMMON: Any = {
    "request_id": "request-0001",
    "model": "tiny",
    "created": 5,
    "prompt": [1, 9],
    "fingerprint": "vllm-0",
}
TALK, TEXT = AnswerShape(CHAT, **COMMON), AnswerShape(COMPLETIONS, **COMMON)
COUNTED = AnswerShape(CHAT, counts_usage=True, **COMMON)

CHUNK = (
    '{"id":"chatcmpl-request-0001","object":"chat.completion.chunk","created":5,"model":"tiny","choices":['
)
TEXT_CHUNK = '{"id":"cmpl-request-0001","object":"text_completion","created":5,"model":"tiny","choices":['
USAGE = '"usage":{"prompt_tokens":2,"total_tokens":5,"completion_tokens":3'
DETAILS = ',"prompt_tokens_details":null,"completion_tokens_details":null}'
REST = '"kv_transfer_params":null,"ec_transfer_params":null,"metrics":null}'


def written(payload: object) -> str:
    return orjson.dumps(payload).decode()


def test_a_chat_opens_with_its_role_and_prompt() -> None:
    choice = '{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}'
    assert written(TALK.opening(0)) == f'{CHUNK}{choice}],"prompt_token_ids":[1,9],"prompt_text":null}}'
    assert TEXT.opening(0) is None


def test_a_chats_token() -> None:
    choice = '{"index":0,"delta":{"content":"How"},"logprobs":null,"finish_reason":null,"token_ids":[20]}'
    assert written(TALK.token(0, "How", 20, True, None)) == f"{CHUNK}{choice}]}}"


def test_a_chats_last_token_names_the_end_and_bears_the_fingerprint_unless_counts_follow() -> None:
    choice = (
        '{"index":1,"delta":{"content":" I"},"logprobs":null,"finish_reason":"length","stop_reason":null,'
        '"token_ids":[33]}'
    )
    stamped = f'{CHUNK}{choice}],"system_fingerprint":"vllm-0"}}'
    assert written(TALK.token(1, " I", 33, False, "length")) == stamped
    assert written(COUNTED.token(1, " I", 33, False, "length")) == f"{CHUNK}{choice}]}}"


def test_the_counts_of_a_stream() -> None:
    assert written(COUNTED.usage(3)) == f'{CHUNK}],{USAGE}}},"system_fingerprint":"vllm-0"}}'


def test_a_completions_tokens_show_the_prompt_once() -> None:
    for first, shown in ((True, "[1,9]"), (False, "null")):
        choice = (
            '{"index":0,"text":"-","logprobs":null,"finish_reason":null,"stop_reason":null,'
            f'"prompt_token_ids":{shown},"token_ids":[29]}}'
        )
        assert written(TEXT.token(0, "-", 29, first, None)) == f"{TEXT_CHUNK}{choice}]}}"


def test_a_whole_chat() -> None:
    choice = (
        '{"index":0,"message":{"role":"assistant","content":"How may I","refusal":null,"annotations":null,'
        '"audio":null,"function_call":null,"reasoning":null},"logprobs":null,"finish_reason":"length",'
        '"stop_reason":null,"token_ids":[20,6,33],"routed_experts":null}'
    )
    start = CHUNK.replace("chat.completion.chunk", "chat.completion")
    assert written(TALK.whole([WrittenChoice("How may I", [20, 6, 33], "length")])) == (
        f'{start}{choice}],"service_tier":null,"system_fingerprint":"vllm-0",{USAGE}{DETAILS},'
        f'"prompt_logprobs":null,"prompt_token_ids":[1,9],"prompt_text":null,{REST}'
    )


def test_a_whole_completion() -> None:
    choice = (
        '{"index":0,"text":"-in-","logprobs":null,"finish_reason":"length","stop_reason":null,'
        '"token_ids":[29,25,29],"prompt_logprobs":null,"prompt_token_ids":[1,9],"routed_experts":null}'
    )
    assert written(TEXT.whole([WrittenChoice("-in-", [29, 25, 29], "length")])) == (
        f'{TEXT_CHUNK}{choice}],"service_tier":null,"system_fingerprint":"vllm-0",{USAGE}{DETAILS},{REST}'
    )


def test_a_server_without_a_fingerprint_shows_none() -> None:
    bare = AnswerShape(CHAT, "request-0001", "tiny", 5, [1])
    assert "system_fingerprint" not in bare.token(0, "", 2, False, "stop")
    assert bare.whole([])["system_fingerprint"] is None
