"""Generates as an engine does: one token after the other, drawn with the request's noise, until it ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from shared.reference_examination import Examination
from shared.reference_logits import LogitsRequest
from shared.reference_model import ReferenceModel
from tests.validator.example_sampler import draw
from validator.detokenization import TextDecoder, TextRule
from validator.sampling_rules import SamplingRule


@dataclass(frozen=True)
class Generated:
    """The output of one choice, before anybody made a text of it."""

    token_ids: tuple[int, ...]
    finish_reason: str


def next_logits(model: ReferenceModel, token_ids: Sequence[int]) -> Tensor:
    """Logits after the last token: float32 [vocabulary_size]."""
    found: list[Tensor] = []
    last = len(token_ids) - 1
    request = LogitsRequest(last, last, lambda _, logits: found.append(logits))
    model.hand_out(model.examine([Examination(token_ids, {}, request)])[0])
    return found[0][0]


def generate(
    model: ReferenceModel, decoder: TextDecoder, rule: SamplingRule, prompt: Sequence[int], choice: int
) -> Generated:
    """What an honest engine with this model emits for one choice; `rule.max_tokens` must be set."""
    assert rule.max_tokens is not None
    output: list[int] = []
    while len(output) < rule.max_tokens:
        row = next_logits(model, [*prompt, *output]).numpy()
        output.append(draw(rule, row, prompt, output, rule.seed_of(choice)))
        if output[-1] in rule.end_token_ids or _says_a_stop(decoder, rule, prompt, output):
            return Generated(tuple(output), "stop")
    return Generated(tuple(output), "length")


def _says_a_stop(
    decoder: TextDecoder, rule: SamplingRule, prompt: Sequence[int], output: Sequence[int]
) -> bool:
    if not rule.stop or len(output) <= rule.min_tokens:
        return False
    [text] = decoder.sent_texts(prompt, output, TextRule(), "length")
    return any(stop in text for stop in rule.stop)


def delivered_text(
    decoder: TextDecoder, rule: SamplingRule, prompt: Sequence[int], generated: Generated
) -> str:
    """What the client is sent for these tokens: all but a stop token, or what comes before a stop string."""
    text_rule = TextRule(
        stops=rule.stop,
        keep_stop=rule.include_stop_str_in_output,
        min_tokens=rule.min_tokens,
        skip_special_tokens=rule.skip_special_tokens,
        spaces_between_special_tokens=rule.spaces_between_special_tokens,
    )
    by_word = rule.stop and generated.token_ids[-1] not in rule.end_token_ids
    reason = "length" if by_word else generated.finish_reason
    [text] = decoder.sent_texts(prompt, generated.token_ids, text_rule, reason)
    return text


ChangeRule = Callable[[SamplingRule], SamplingRule]
Edit = Callable[[Generated], Generated]
Retell = Callable[[str], str]


def as_asked(rule: SamplingRule) -> SamplingRule:
    """Samples by the request."""
    return rule


def unedited(generated: Generated) -> Generated:
    """Emits what was drawn."""
    return generated


def verbatim(text: str) -> str:
    """Sends the text of the tokens."""
    return text


@dataclass(frozen=True)
class Writing:
    """How a miner makes its answers; the defaults are honest.

    Attributes:
        writer: the model that draws the tokens, when it is not the one that computes the hidden states.
        rule: what the miner makes of the request's sampling.
        edit: what it makes of the drawn tokens.
        retell: what it makes of their text.
    """

    writer: ReferenceModel | None = None
    rule: ChangeRule = as_asked
    edit: Edit = unedited
    retell: Retell = verbatim


HONEST = Writing()
