"""The noise of verifiable sampling: a pure function of the request's seed, the position and the token.

A token is sampled as argmax over the vocabulary of logits + g, where g is Gumbel noise (Gumbel, 1954; the
"Gumbel-max trick"), so whoever knows the seed can draw the same token from the same logits. The noise is
the one of vLLM's second model runner (`vllm/v1/worker/gpu/sample/gumbel.py`): murmur3 (Appleby, 2011;
32-bit, x86 variant) over the 16 bytes

    seed as 64 bits | position as 32 bits | token id as 32 bits

little-endian, with start value 0. Its 32 bits x give u = (x + 1/2) / 2³² in float32, and
g = −ln(−ln(1 − u)). Integers and u are the same bits on every machine; g may differ in its last bit with
the machine's logarithm.

`position` is the place of the input whose logits are sampled from, so the token it yields stands one
place later. The n choices of one prompt have the seeds seed, seed + 1, … (`choice_seed`).
"""

import math
from functools import lru_cache

import torch
from torch import Tensor

SAMPLER = "gumbel-murmur3/1"
"""Names this noise in receipts."""

_INT64 = 1 << 64
_LENGTH_BYTES = 16
_SERIES_TERMS = 8
_SERIES_LIMIT = 0.25
"""Below it ln(1 − u) is summed as a series: the kernel does so, because u → 0 decides who wins."""

_SMALLEST_REST = 2.0**-24
_HIGH_UNIT, _LOW_UNIT = 2.0**-16, 2.0**-32

_REACH = math.log(2.0**31 * 1.01)
"""Scales a bound on u to 31 bits, with room for rounding: 10⁻³ at logits / temperature of 10⁴."""


def choice_seed(seed: int, number: int) -> int:
    """The seed of a prompt's choice: it counts up from the request's, as a signed number of 64 bits.

    vLLM takes −1 for no seed, also where it was counted up to: that choice's tokens are random.
    """
    wrapped = (seed + number) % _INT64
    return wrapped - _INT64 if wrapped >= _INT64 // 2 else wrapped


def sampled_tokens(logits: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    """argmax over the vocabulary of logits + noise: int64 [rows].

    Args:
        logits: float32 [rows, vocabulary_size]; after penalties, temperature, min-p, top-k and top-p.
        seeds, positions: as for `gumbel_noise`.
    """
    if logits.device.type != "cpu":
        return (logits + gumbel_noise(seeds, positions, logits.shape[1])).argmax(dim=1)
    starts, keys = _starts(seeds, positions), _token_keys(logits.shape[1], "cpu")
    best = logits.max(dim=1)
    rows = zip(logits, starts, best.indices.tolist(), best.values.tolist(), strict=True)
    winners = [_winner(row, start, keys, *known) for row, start, *known in rows]
    return torch.tensor(winners, dtype=torch.int64)


def gumbel_noise(seeds: Tensor, positions: Tensor, vocabulary_size: int) -> Tensor:
    """The noise of every token: float32 [rows, vocabulary_size] on the device of `seeds`.

    Args:
        seeds: int64 [rows].
        positions: int64 [rows]; of the inputs that are sampled from.
    """
    return _gumbel(uniform_noise(seeds, positions, vocabulary_size))


def gumbel_noise_at(seeds: Tensor, positions: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    """The noise of single tokens: float32 [n].

    Args:
        seeds, positions: as for `gumbel_noise`, int64 [number of rows].
        rows, tokens: int64 [n], which row's noise of which token.
    """
    return _gumbel(_uniform(_hash_at(seeds, positions, rows, tokens)))


def large_noise_at(
    seeds: Tensor, positions: Tensor, rows: Tensor, tokens: Tensor, floors: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the noise of single tokens is above a floor, and how large it is there.

    Only those few need logarithms: the noise is above x only if u < exp(−x).

    Args:
        seeds, positions, rows, tokens: as for `gumbel_noise_at`.
        floors: float32 [n].

    Returns:
        int64 [found], indices of tokens: all whose noise is above their floor, and some that are hardly
        below it; and their noise, float32 [found].
    """
    bits = _hash_at(seeds, positions, rows, tokens)
    able = ((bits >> 1) & 0x7FFFFFFF).to(torch.float32) <= (_REACH - floors).exp_()
    found = able.nonzero().squeeze(1)
    return found, _gumbel(_uniform(bits[found]))


def _hash_at(seeds: Tensor, positions: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
    return _finish_hash(_starts(seeds, positions)[rows], _mix_key(tokens.to(torch.int32)))


def uniform_noise(seeds: Tensor, positions: Tensor, vocabulary_size: int) -> Tensor:
    """The uniform numbers in (0, 1] that the noise is made of, float32 [rows, vocabulary_size]."""
    return _uniform(hash_bits(seeds, positions, vocabulary_size))


def hash_bits(seeds: Tensor, positions: Tensor, vocabulary_size: int) -> Tensor:
    """murmur3 of (seed, position, token): int32 [rows, vocabulary_size], to be read as unsigned."""
    keys = _token_keys(vocabulary_size, str(seeds.device))
    return _finish_hash(_starts(seeds, positions).unsqueeze(1), keys)


def _winner(row: Tensor, start: Tensor, keys: Tensor, best: int, logit: float) -> int:
    """The token with the best score in one row [vocabulary_size] on a CPU.

    The token of the best logit scores `floor`. Another one beats it only if its noise makes up for its
    logit, u ≤ 1 − exp(−exp(logit − floor)) < exp(logit − floor), so only those few need logarithms.
    """
    bits = _finish_hash(start, keys)
    uniform = ((int(bits[best]) & 0xFFFFFFFF) + 0.5) * _LOW_UNIT
    floor = logit - math.log(-math.log1p(-uniform))
    reach = (row - (floor - _REACH)).exp_()
    able = ((bits >> 1) & 0x7FFFFFFF).to(torch.float32) <= reach
    able[best] = True  # also where floor is infinite or not a number
    tokens = able.nonzero().squeeze(1)
    if len(tokens) == 1:
        return best
    return int(tokens[(row[tokens] + _gumbel(_uniform(bits[tokens]))).argmax()])


def _gumbel(uniform: Tensor) -> Tensor:
    rest = (1.0 - uniform).clamp_min_(_SMALLEST_REST).log_()
    logarithm = torch.where(uniform < _SERIES_LIMIT, _log1p_negative(uniform), rest)
    return logarithm.neg_().log_().neg_()


def _uniform(bits: Tensor) -> Tensor:
    """(bits + 1/2) / 2³², correctly rounded; overwrites the bits."""
    high = ((bits >> 16) & 0xFFFF).to(torch.float32).mul_(_HIGH_UNIT)
    low = bits.bitwise_and_(0xFFFF).to(torch.float32).add_(0.5).mul_(_LOW_UNIT)
    return high.add_(low)


def _starts(seeds: Tensor, positions: Tensor) -> Tensor:
    """The hash's state before the token is absorbed: int32, one for each seed and position.

    The cast to int32 keeps the low bits.
    """
    words = torch.stack([seeds, seeds >> 32, positions]).to(torch.int32)
    state = torch.zeros_like(words[0])
    for key in _mix_key(words):
        state = _absorb(state, key)
    return state


def _finish_hash(start: Tensor, mixed_tokens: Tensor) -> Tensor:
    return _finish(_absorb(start, mixed_tokens).bitwise_xor_(_LENGTH_BYTES))


def _signed(constant: int) -> int:
    return constant - (1 << 32) if constant >= 1 << 31 else constant


def _rotate(values: Tensor, count: int) -> Tensor:
    return (values << count).bitwise_or_((values >> (32 - count)).bitwise_and_((1 << count) - 1))


def _mix_key(key: Tensor) -> Tensor:
    return _rotate(key * _signed(0xCC9E2D51), 15) * _signed(0x1B873593)


def _absorb(state: Tensor, mixed_key: Tensor) -> Tensor:
    return _rotate(state ^ mixed_key, 13).mul_(5).add_(_signed(0xE6546B64))


def _fold(values: Tensor, shift: int) -> Tensor:
    """values ^ (values >> shift), the shift unsigned; in place."""
    return values.bitwise_xor_((values >> shift).bitwise_and_((1 << (32 - shift)) - 1))


def _finish(values: Tensor) -> Tensor:
    mixed = _fold(_fold(values, 16).mul_(_signed(0x85EBCA6B)), 13)
    return _fold(mixed.mul_(_signed(0xC2B2AE35)), 16)


@lru_cache(maxsize=4)
def _token_keys(vocabulary_size: int, device: str) -> Tensor:
    return _mix_key(torch.arange(vocabulary_size, dtype=torch.int32, device=device))


def _log1p_negative(values: Tensor) -> Tensor:
    """ln(1 − x) by its series, −(x + x²/2 + … + x⁸/8), nested as the kernel does."""
    total = torch.full_like(values, 1.0 / _SERIES_TERMS)
    for term in range(_SERIES_TERMS - 1, 0, -1):
        total.mul_(values).add_(1.0 / term)
    return total.mul_(values).neg_()
