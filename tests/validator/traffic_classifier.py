"""A miner's best guess which requests come from the auditor: a logistic regression over all that it sees."""

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

EPOCH_S = 1500.0
HASHED = 1 << 12
"""Places for names, values and n-grams, by their CRC."""

PENALTY = 1e-3
STEPS = 60
_CHANGING_HEADERS = frozenset({"x-bittensor-nonce", "x-bittensor-signature"})


@dataclass(frozen=True)
class Arrival:
    """One request as it came in at the miner, `at_s` on the simulation's clock."""

    at_s: float
    path: str
    headers: tuple[tuple[str, str], ...]
    raw: bytes
    synthetic: bool = False
    body: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "body", json.loads(self.raw))


class Memory:
    """What a miner remembers of earlier requests."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()
        self._last_s = 0.0

    def features(self, arrival: Arrival) -> tuple[Counter[str], list[float]]:
        """(counts of words, numbers) of one request; it is remembered for the later ones."""
        words = Counter(_words(arrival))
        for name, value in arrival.body.items():
            known = f"{name}={json.dumps(value)[:2000]}"
            if name not in ("request_id", "messages", "prompt"):
                words[f"seen {name} {min(self._seen[known], 2)}"] += 1
            self._seen[known] += 1
        for place, text in enumerate(_texts(arrival)):
            words[f"text {min(place, 2)} seen {min(self._seen[text], 2)}"] += 1
            self._seen[text] += 1
        gap_s, self._last_s = arrival.at_s - self._last_s, arrival.at_s
        return words, [math.log(gap_s + 1e-3), *_numbers(arrival)]


def _texts(arrival: Arrival) -> list[str]:
    if "prompt" in arrival.body:
        return [arrival.body["prompt"]]
    contents = [message["content"] for message in arrival.body["messages"]]
    return [one if isinstance(one, str) else one[0]["text"] for one in contents]


def _words(arrival: Arrival) -> Iterable[str]:
    """Everything with a name: headers, the order of fields, their values, characters."""
    yield arrival.path
    yield from (name for name, _ in arrival.headers)
    yield "headers " + ",".join(name for name, _ in arrival.headers)
    for name, value in arrival.headers:
        yield f"{name} of {len(value)}" if name.lower() in _CHANGING_HEADERS else f"{name}: {value}"
    yield "fields " + ",".join(arrival.body)
    yield "blanks" if b'": ' in arrival.raw else "no blanks"
    for name, value in arrival.body.items():
        yield f"{name} is {type(value).__name__}"
        if name not in ("messages", "prompt", "request_id"):
            yield f"{name}={json.dumps(value)}"
    request_id = arrival.body["request_id"]
    yield f"id of {len(request_id)} {request_id.isalnum()} {request_id.islower()}"
    for message in arrival.body.get("messages", ()):
        yield "message " + ",".join(message) + f" {message['role']} {type(message['content']).__name__}"
    texts = _texts(arrival)
    for text in {texts[0], texts[-1]}:
        yield from _n_grams(text[:300])


def _n_grams(text: str) -> Iterable[str]:
    for size in (1, 2, 3):
        yield from ("n-gram " + text[place : place + size] for place in range(len(text) - size + 1))


def _numbers(arrival: Arrival) -> list[float]:
    texts, in_epoch = _texts(arrival), arrival.at_s % EPOCH_S / EPOCH_S
    body = arrival.body
    return [
        in_epoch,
        math.sin(2 * math.pi * in_epoch),
        math.cos(2 * math.pi * in_epoch),
        math.log(len(arrival.raw)),
        math.log(len(texts[-1]) + 1),
        math.log(sum(map(len, texts)) + 1),
        len(texts),
        *(float(body.get(name) or 0) for name in ("temperature", "top_p", "max_tokens", "n")),
        math.log(abs(body["seed"]) + 1),
        float(body["seed"] % 2),
    ]


def _matrix(before: Iterable[Arrival], arrivals: Sequence[Arrival]) -> torch.Tensor:
    """[arrivals, features]: hashed words, each request's of length 1 by kind, then standardised numbers."""
    memory = Memory()
    for arrival in before:
        memory.features(arrival)
    hashed = torch.zeros(len(arrivals), 2, HASHED)
    numbers = []
    for row, arrival in enumerate(arrivals):
        words, values = memory.features(arrival)
        numbers.append(values)
        places = torch.tensor([(int(word.startswith("n-gram ")), _place(word)) for word in words])
        counts = torch.tensor(list(words.values()), dtype=torch.float32)
        hashed[row].index_put_((places[:, 0], places[:, 1]), counts, accumulate=True)
    hashed = torch.nn.functional.normalize(hashed, dim=2)
    table = torch.tensor(numbers)
    table = (table - table.mean(0)) / (table.std(0) + 1e-9)
    return torch.cat([hashed.flatten(1) * math.sqrt(20), table], dim=1)


@cache
def _place(word: str) -> int:
    return zlib.crc32(word.encode()) % HASHED


def held_out_accuracy(before: Sequence[Arrival], arrivals: Sequence[Arrival], seed: int) -> tuple[float, int]:
    """(accuracy on one half after training on the other, size of that half); both kinds equally often.

    What came `before` is remembered, but not classified.
    """
    arrivals = sorted(arrivals, key=lambda one: one.at_s)
    labels = torch.tensor([float(one.synthetic) for one in arrivals])
    features = _matrix(before, arrivals)
    generator = torch.Generator().manual_seed(seed)
    kinds = [torch.nonzero(labels == kind).flatten() for kind in (0.0, 1.0)]
    size = min(map(len, kinds)) // 2
    mixed = [kind[torch.randperm(len(kind), generator=generator)] for kind in kinds]
    train = torch.cat([kind[:size] for kind in mixed])
    test = torch.cat([kind[size : 2 * size] for kind in mixed])
    weights = _fit(features[train], labels[train])
    guesses = (features[test] @ weights[:-1] + weights[-1] > 0).float()
    return float((guesses == labels[test]).float().mean()), len(test)


def _fit(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    weights = torch.zeros(features.shape[1] + 1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = features @ weights[:-1] + weights[-1]
        value = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
        value = value + PENALTY * weights[:-1].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def chance_limit(size: int) -> float:
    """Accuracy that guessing exceeds once in 740 times: three standard deviations above one half."""
    return 0.5 + 3 * math.sqrt(0.25 / size)
