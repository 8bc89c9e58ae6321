"""How a recorded request asks its tokens to be drawn: the sampling parameters that vLLM makes of it.

Follows `to_sampling_params` of `vllm/entrypoints/openai/*/protocol.py` and `vllm/sampling_params.py`; tests
compare with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.errors import NotReproducible
from shared.sampling_noise import choice_seed
from validator.generation_defaults import GenerationDefaults
from validator.sampling_request import SamplingRequest, sampling_request

LEAST_TEMPERATURE = 1e-2
"""vLLM raises temperatures between 0 and this to it (`_MAX_TEMP`)."""

LARGEST_BIAS = 100.0
"""vLLM clips `logit_bias` to ± this, as OpenAI's API documents."""

_NO_SEED = -1
"""A `seed` that vLLM takes for none."""

_NEUTRAL: Mapping[str, float] = {
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
}


@dataclass(frozen=True)
class SamplingRule:
    """How the tokens of a request are drawn, and where its texts end.

    Attributes:
        temperature: 0 takes the largest logit.
        top_k: 0 keeps all tokens; so do top_p 1 and min_p 0.
        bad_words: token sequences that must not be completed.
        max_tokens: None when only the context bounds the output.
        end_token_ids: tokens at which generation ends.
        held_back_token_ids: tokens that can't be drawn among the first `min_tokens`.
        stop: texts at which generation ends once more than `min_tokens` tokens were drawn.
        seed: of the first of the n choices; None only where it doesn't matter.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[tuple[int, ...], ...] = ()
    min_tokens: int = 0
    max_tokens: int | None = None
    end_token_ids: frozenset[int] = frozenset()
    held_back_token_ids: frozenset[int] = frozenset()
    stop: tuple[str, ...] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    seed: int | None = None
    n: int = 1

    @property
    def greedy(self) -> bool:
        """Whether the largest logit wins, and the seed doesn't matter."""
        return self.temperature == 0

    def seed_of(self, choice: int) -> int:
        """The seed of a choice, by its index in the answer: the n choices of every prompt count up from 0."""
        return 0 if self.seed is None else choice_seed(self.seed, choice % self.n)


def sampling_rule(path: str, request_body: str, defaults: GenerationDefaults) -> SamplingRule:
    """The rule of a request.

    Args:
        path: the request's path.
        request_body: the body as it was sent to the miner.

    Raises:
        NotReproducible: what the request asks for can't be rebuilt, or vLLM would refuse it; says why.
    """
    return _rule(sampling_request(path, request_body), defaults)


def _rule(asked: SamplingRequest, defaults: GenerationDefaults) -> SamplingRule:
    temperature = _chosen(asked, "temperature", defaults)
    greedy = temperature == 0
    seed = None if asked.seed == _NO_SEED else asked.seed
    if seed is None and not greedy:
        raise NotReproducible("the request has no seed, so its noise is unknown")
    if seed is not None and not greedy and _meets_no_seed(seed, asked.n or 1):
        raise NotReproducible("one of its choices' seeds is -1, which vLLM takes for none")
    ends = frozenset(asked.stop_token_ids or ())
    ends_and_eos = ends | defaults.eos_token_ids
    return SamplingRule(
        temperature=0.0 if greedy else max(temperature, LEAST_TEMPERATURE),
        top_k=0 if greedy else max(0, int(_chosen(asked, "top_k", defaults))),
        top_p=1.0 if greedy else _chosen(asked, "top_p", defaults),
        min_p=0.0 if greedy else _chosen(asked, "min_p", defaults),
        presence_penalty=_chosen(asked, "presence_penalty", defaults),
        frequency_penalty=_chosen(asked, "frequency_penalty", defaults),
        repetition_penalty=_chosen(asked, "repetition_penalty", defaults),
        logit_bias=_biases(asked.logit_bias or {}),
        allowed_token_ids=None if asked.allowed_token_ids is None else tuple(asked.allowed_token_ids),
        bad_words=_bad_words(asked.bad_words, defaults),
        min_tokens=asked.min_tokens,
        max_tokens=asked.most_tokens(defaults.max_tokens),
        end_token_ids=ends if asked.ignore_eos else ends_and_eos,
        held_back_token_ids=ends_and_eos,
        stop=(asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop or ()),
        include_stop_str_in_output=asked.include_stop_str_in_output,
        ignore_eos=asked.ignore_eos,
        skip_special_tokens=asked.skip_special_tokens,
        spaces_between_special_tokens=asked.spaces_between_special_tokens,
        seed=seed,
        n=1 if asked.n is None else asked.n,
    )


def _chosen(asked: SamplingRequest, name: str, defaults: GenerationDefaults) -> float:
    """The request's value, else the model's default, else vLLM's."""
    value: float | None = getattr(asked, name)
    return float(defaults.sampling.get(name, _NEUTRAL[name]) if value is None else value)


def _biases(asked: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    try:
        by_token = {int(token): bias for token, bias in asked.items()}
    except ValueError:
        raise NotReproducible("the request's field logit_bias names something that is no token id") from None
    return tuple((token, min(LARGEST_BIAS, max(-LARGEST_BIAS, bias))) for token, bias in by_token.items())


def _bad_words(words: Sequence[str], defaults: GenerationDefaults) -> tuple[tuple[int, ...], ...]:
    """Each word as it is tokenised at the start of a text and, where that is as long, after a space."""
    sequences: list[tuple[int, ...]] = []
    for word in dict.fromkeys(words):
        alone = tuple(defaults.encode(word.lstrip()))
        spaced = tuple(defaults.encode(" " + word.lstrip()))
        if not alone:
            raise NotReproducible("the request's field bad_words holds a word without tokens")
        sequences.append(alone)
        if spaced and spaced[0] != alone[0] and len(spaced) == len(alone):
            sequences.append(spaced)
    return tuple(sequences)


def _meets_no_seed(seed: int, choices: int) -> bool:
    """Whether a choice's seed, counted up from the request's, is the one that stands for none."""
    return any(choice_seed(seed, number) == _NO_SEED for number in range(choices))
