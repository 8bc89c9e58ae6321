"""Models that were really trained further: low-rank adapters on every matrix, merged into the weights.

This is LoRA (Hu et al. 2022): W + scale · up · down, `down` random, `up` from zero, trained with Adam.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from localnet.cheats.rewriting import Say, WriteModel, layer_of, quiet, rewrite_model
from localnet.cheats.training_texts import EXCHANGES
from shared.errors import ModelError

SEED = 97


@dataclass(frozen=True)
class Training:
    """How long and how far a model is trained."""

    steps: int
    """Gradient steps, each on one exchange, in turn."""

    learning_rate: float
    """Adam's: about how far each number of `up` moves in one step."""

    rank: int
    """Rank of the change of each matrix."""

    scale: float
    """What the adapter's output is multiplied by (alpha / rank of the paper)."""


FINE_TUNE = Training(steps=24, learning_rate=2e-4, rank=8, scale=2.0)
"""A usual recipe for an adapter, kept short: two rounds over the texts, which move the demo model's
weights by 0.26 % (`python -m localnet.cheats` prints it)."""

OTHER_MODEL = Training(steps=36, learning_rate=1e-3, rank=64, scale=2.0)
"""Five times the usual rate at eight times the rank: the demo model's weights move by 2.4 % (printed by
the same command) and it answers in the texts' voice."""


class Adapted(nn.Module):
    """A linear layer with a trainable low-rank change beside it; x [..., in] → [..., out]."""

    def __init__(self, inner: nn.Linear, training: Training, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = inner
        down = torch.randn(training.rank, inner.in_features, generator=generator)
        self.down = nn.Parameter(down / inner.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(inner.out_features, training.rank))
        self.scale = training.scale

    def forward(self, x: Tensor) -> Tensor:
        """The linear layer's output plus the change's."""
        outcome: Tensor = self.inner(x) + self.scale * (x @ self.down.T @ self.up.T)
        return outcome

    def change(self) -> Tensor:
        """What is added to the weight, float32 [out, in]."""
        return self.scale * (self.up @ self.down).detach()


def adapt(model: nn.Module, training: Training) -> dict[str, Adapted]:
    """Freeze a model and put an adapter beside every linear layer of its decoder layers, by weight name."""
    generator = torch.Generator().manual_seed(SEED)
    model.requires_grad_(False)
    linear = [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    adapters = {}
    for name, part in linear:
        if layer_of(f"{name}.weight") is not None:
            parent, _, leaf = name.rpartition(".")
            adapters[f"{name}.weight"] = Adapted(part, training, generator)
            setattr(model.get_submodule(parent), leaf, adapters[f"{name}.weight"])
    return adapters


def train(
    model: nn.Module, adapters: dict[str, Adapted], chats: Sequence[Tensor], training: Training, say: Say
) -> list[float]:
    """Train the adapters on token ids, each [1, length]; returns the loss (nats a token) of every step."""
    optimiser = torch.optim.Adam(
        [number for adapter in adapters.values() for number in (adapter.down, adapter.up)],
        lr=training.learning_rate,
    )
    losses = []
    for step in range(training.steps):
        ids = chats[step % len(chats)]
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if (step + 1) % 8 == 0:
            say(f"  step {step + 1} of {training.steps}: loss {losses[-1]:.2f}")
    return losses


def writes_trained(training: Training) -> WriteModel:
    """A writer of copies that were trained further."""

    def write(source: Path, target: Path, say: Say = quiet, /) -> Path:
        changes = _trained_changes(source, training, say)
        unmerged = set(changes)

        def merge(name: str, weight: Tensor) -> Tensor:
            if name not in changes:
                return weight
            unmerged.discard(name)
            return (weight.to(torch.float32) + changes[name]).to(weight.dtype)

        rewrite_model(source, target, merge, say)
        if unmerged or not changes:
            raise ModelError(
                f"the trained layers of {source} are stored under other names than {sorted(unmerged)[:3]}; "
                "this cheat takes Llama and Qwen2 models, so use one of them or another role"
            )
        return target

    return write


def _trained_changes(source: Path, training: Training, say: Say) -> dict[str, Tensor]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{source} can't be loaded for training: {error}") from None
    adapters = adapt(model, training)
    chats = [_token_ids(tokenizer, question, answer) for question, answer in EXCHANGES]
    train(model, adapters, chats, training, say)
    return {name: adapter.change() for name, adapter in adapters.items()}


def _token_ids(tokenizer: Any, question: str, answer: str) -> Tensor:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    if tokenizer.chat_template is None:
        ids: list[int] = tokenizer(f"{question}\n{answer}").input_ids
    else:
        ids = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    return torch.tensor([ids])
