"""Machines, and the honest miners that every strategy has to live among."""

from dataclasses import dataclass

from bench.incentives.traffic import Arrival

PREFILL_SPEEDUP = 25.0
"""Prompt tokens a second, ÷ output tokens a second: prefill is bound by arithmetic, decoding by memory."""


@dataclass(frozen=True)
class Machine:
    """What an honest miner can do.

    Attributes:
        tokens_per_s: output of one stream.
        round_trip_ms: to the gateway.
        fault_share: share of attempts that fail for reasons of the network.
        long_prompt_speed: factor on its speed for prompts of LONG_PROMPT tokens and more.
        long_answer_speed: factor on its speed for what it writes after LONG_ANSWER tokens.
    """

    tokens_per_s: float
    round_trip_ms: float = 40.0
    fault_share: float = 0.0
    long_prompt_speed: float = 1.0
    long_answer_speed: float = 1.0


LONG_PROMPT = 256
LONG_ANSWER = 256


def is_long(arrival: Arrival) -> bool:
    """Whether a request counts as long: about one in five does."""
    return arrival.prompt_tokens >= LONG_PROMPT


def has_long_answer(arrival: Arrival) -> bool:
    """Whether its answer counts as long: about one in four does."""
    return arrival.output_tokens > LONG_ANSWER


@dataclass(frozen=True)
class Timing:
    """How long an answer took, as the gateway measures it."""

    ttft_ms: float
    duration_ms: float


def timing(machine: Machine, arrival: Arrival, speed_up: float = 1.0) -> Timing:
    """The times of an answer that is computed `speed_up` times as fast as the true model's."""
    speed = machine.tokens_per_s * arrival.speed * speed_up
    if is_long(arrival):
        speed *= machine.long_prompt_speed
    prefill_s = arrival.prompt_tokens / (speed * PREFILL_SPEEDUP)
    ttft_ms = (machine.round_trip_ms + prefill_s * 1000) * arrival.wait
    late_tokens = max(0, arrival.output_tokens - LONG_ANSWER) if machine.long_answer_speed != 1.0 else 0
    slowly_s = late_tokens / (speed * machine.long_answer_speed)
    return Timing(ttft_ms, ttft_ms + ((arrival.output_tokens - late_tokens) / speed + slowly_s) * 1000)


SUBJECT = Machine(80.0)
"""The machine whose owner thinks about other ways to earn."""

NEIGHBOURS = (Machine(40.0), Machine(60.0), Machine(80.0), Machine(120.0), Machine(160.0))
"""Honest miners, one of them on the subject's kind of machine."""
