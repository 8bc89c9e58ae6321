"""The reference: the same model in transformers, prefill only, stopping after the deepest layer needed.

float32 on a CPU: it judges bfloat16 engines better than bfloat16 does. Layer i is the raw residual stream
after i decoder layers, read with forward hooks, because the last entry of transformers'
`output_hidden_states` is normalised.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM

from shared.errors import ModelError
from shared.prefix_cache import Prefix, PrefixCache
from shared.reference_batches import Family, PassCosts, find_families, split_by_length
from shared.reference_examination import Examination, Reading
from shared.reference_logits import LogitsHead
from shared.reference_pass import ReferencePass, Row

PREFIX_CACHE_BYTES = 256 * 1024 * 1024
"""Keys and values kept for later sequences: 5,800 tokens of SmolLM2-135M in float32, 4,700 of Qwen2.5-7B in
bfloat16."""

CPU_COSTS = PassCosts(overhead_tokens=32, budget_tokens=256)
"""Measured with SmolLM2-135M on one core: a pass reads all weights once, which takes as long as 32 more
tokens do, and a pass of 1,024 tokens is no faster per token than one of 256."""

GPU_COSTS = PassCosts(overhead_tokens=256, budget_tokens=16_384)
"""Estimated for Qwen2.5-7B on an H200: launching a pass's kernels takes some 10 ms, 256 tokens at half of its
790 TFLOP/s; 16,384 tokens take 3 GB beside the weights."""


def default_dtype(device: str) -> torch.dtype:
    """float32 on a CPU; bfloat16 elsewhere, where float32 costs several times the time and twice the room."""
    return torch.float32 if torch.device(device).type == "cpu" else torch.bfloat16


class ReferenceModel:
    """A decoder-only model that is asked for hidden states and logits; not thread-safe."""

    def __init__(
        self, model: Any, device: torch.device, prefix_cache_bytes: int = PREFIX_CACHE_BYTES
    ) -> None:
        self._pass, self._head = ReferencePass(model, device), LogitsHead(model)
        self._prefixes = PrefixCache(len(self._pass.layers), prefix_cache_bytes)
        self.costs = CPU_COSTS if device.type == "cpu" else GPU_COSTS
        self.vocabulary_size = int(model.config.vocab_size)
        self.hidden_size = int(model.config.hidden_size)

    @classmethod
    def load(cls, model: str, device: str = "cpu", dtype: torch.dtype | None = None) -> "ReferenceModel":
        """Load a local folder or a hub id; without a dtype in the device's `default_dtype`.

        Raises:
            ModelError: the model can't be loaded, with the library's reason.
        """
        try:
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype or default_dtype(device))
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"the reference model {model} can't be loaded: {error}") from None
        return cls(loaded.to(device).eval(), torch.device(device))

    @property
    def num_layers(self) -> int:
        return len(self._pass.layers)

    @staticmethod
    def describe(device: str, dtype: torch.dtype) -> str:
        """One line that names library, versions, dtype and device."""
        name = str(dtype).removeprefix("torch.")
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {name} on {device}"

    def hidden_states(
        self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]
    ) -> dict[int, Tensor]:
        """Hidden states of one sequence.

        Args:
            token_ids: the whole sequence; only the part up to the last wanted position is computed.
            points: wanted positions by layer (0 = the embedding's output).

        Returns:
            by layer, float32 [number of positions, hidden_size] on the CPU, in the given order.

        Raises:
            ValueError: a layer, position or token id does not exist in this model or sequence.
        """
        return self.examine([Examination(token_ids, points)])[0].hidden()

    @torch.inference_mode()
    def examine(self, asked: Sequence[Examination]) -> list[Reading]:
        """Compute several sequences in as few passes as serve them best; logits wait for `hand_out`.

        Returns:
            the readings, in the order asked.

        Raises:
            ValueError: a layer, position or token id does not exist in this model or sequence.
        """
        for one in asked:
            self.check(one)
        rows = [Row(np.array(one.token_ids[: one.length], dtype=np.int64), [Reading(one)]) for one in asked]
        alone: list[Row] = []
        for family in self._families(rows):
            members = [rows[index] for index in family.members]
            known = self._known(members, family.stem)
            if family.stem:
                self._run(members, self._stem(members, family.stem, known), keep=False)
            elif known is not None:
                self._run(members, known, keep=True)
            else:
                alone += members
        self._run(alone, None, keep=True)
        return [row.readings[0] for row in rows]

    @torch.inference_mode()
    def hand_out(self, reading: Reading) -> None:
        """Give the logits that a reading wants, if any, to their reader."""
        if reading.asked.logits is not None:
            self._head.hand_out(reading.states(), reading.asked.logits)

    def check(self, asked: Examination) -> None:
        """Raise ValueError, in words, when a layer, position or token id does not exist."""
        count, logits = len(asked.token_ids), asked.logits
        if not all(asked.points.values()) or not (asked.points or logits):
            raise ValueError("no point was asked for")
        for layer, positions in asked.points.items():
            if not 0 <= layer <= self.num_layers:
                raise ValueError(f"layer {layer} does not exist; the model has {self.num_layers}")
            if not all(0 <= position < count for position in positions):
                raise ValueError(f"a position of {list(positions)} is outside {count} tokens")
        if logits is not None and not 0 <= logits.first <= logits.last < count:
            raise ValueError(f"logits at {logits.first} to {logits.last} are outside {count} tokens")
        if not all(0 <= token < self.vocabulary_size for token in asked.token_ids):
            raise ValueError(f"a token id is outside the vocabulary of {self.vocabulary_size}")

    def _families(self, rows: Sequence[Row]) -> list[Family]:
        if not self._pass.reusable:
            return [Family((index,), 0) for index in range(len(rows))]
        return find_families([row.token_ids for row in rows], self.costs)

    def _known(self, rows: Sequence[Row], stem: int) -> Prefix | None:
        """A kept beginning of these rows, when nothing is wanted of it and it is long enough to save time."""
        limit = min(reading.asked.earliest for row in rows for reading in row.readings)
        found = self._prefixes.find(rows[0].token_ids, min(limit, stem or len(rows[0].token_ids) - 1))
        return None if found is None or len(found) <= self.costs.overhead_tokens else found

    def _stem(self, rows: Sequence[Row], stem: int, known: Prefix | None) -> Prefix:
        """What these rows have in common, computed once; all of them read from it."""
        if known is not None and len(known) == stem:
            return known
        readings = [reading for row in rows for reading in row.readings]
        row = Row(rows[0].token_ids[:stem], readings).after(known)
        (prefix,) = self._pass.run([row], known, keep=True)
        self._prefixes.keep(prefix)
        return prefix

    def _run(self, rows: Sequence[Row], prefix: Prefix | None, keep: bool) -> None:
        """Compute rows that go on from the same prefix, in batches of like length."""
        rest = [row.after(prefix) for row in rows]
        keep = keep and self._pass.reusable
        for numbers in split_by_length([len(row.token_ids) for row in rest], self.costs):
            batch = [rest[number] for number in numbers]
            for kept in self._pass.run(batch, prefix, keep and any(row.wants_logits for row in batch)):
                self._prefixes.keep(kept)
