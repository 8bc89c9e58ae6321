"""The model of the auditor's tests, a tiny random Qwen2, in the forms that miners and auditors have it in."""

from functools import lru_cache
from typing import Any

import torch

from shared.prompt_rendering import PromptRenderer
from shared.reference_model import ReferenceModel
from tests.models import TINY_MODEL, tiny_model
from validator.answer_checks import AnswerChecks
from validator.calibration_prompts import as_request, calibration_chats
from validator.detokenization import TextDecoder
from validator.generation_defaults import GenerationDefaults
from validator.model_tokenizer import load_tokenizer

OUTPUT_TOKENS = 40


@lru_cache(maxsize=1)
def reference() -> ReferenceModel:
    # A model this small is slower on several threads, and far slower beside other processes.
    torch.set_num_threads(1)
    return ReferenceModel.load(str(tiny_model()))


@lru_cache(maxsize=1)
def bfloat16_engine() -> ReferenceModel:
    return ReferenceModel.load(str(tiny_model()), dtype=torch.bfloat16)


@lru_cache(maxsize=1)
def renderer() -> PromptRenderer:
    return PromptRenderer(load_tokenizer(str(tiny_model())))


@lru_cache(maxsize=1)
def decoder() -> TextDecoder:
    return TextDecoder(load_tokenizer(str(tiny_model())))


@lru_cache(maxsize=1)
def defaults() -> GenerationDefaults:
    return GenerationDefaults.load(str(tiny_model()))


@lru_cache(maxsize=1)
def answer_checks() -> AnswerChecks:
    return AnswerChecks(renderer(), decoder(), defaults())


def chat_body(number: int = 0, **fields: Any) -> dict[str, Any]:
    chats = calibration_chats()
    return {
        "model": TINY_MODEL,
        "messages": as_request(chats[number % len(chats)]),
        "request_id": f"request-{number:06d}",
        "seed": number,
        "max_tokens": OUTPUT_TOKENS,
        "return_token_ids": True,
        **fields,
    }
