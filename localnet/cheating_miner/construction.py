"""How each cheat is made from the parts of a miner."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from localnet.cheating_miner.cheap_writer import CheapWriter
from localnet.cheating_miner.cheat import Cheat, Factory, MinerParts
from localnet.cheating_miner.late_computation import LateComputation
from localnet.cheating_miner.output_cheats import OtherText, Padded, Truncated
from localnet.cheating_miner.prefill_attack import PrefillAttack, Surroundings, engine_reads
from localnet.cheating_miner.probes_only import ProbesOnly
from localnet.cheating_miner.prompt_cheats import EditedTemplate, OwnSystemPrompt
from localnet.cheating_miner.refuse_unknown import RefuseUnknown, template_start
from localnet.cheating_miner.replayed_opening import ReplayedOpening
from localnet.cheating_miner.sampling_cheats import (
    TEMPERATURE_STEP,
    OtherTemperature,
    TopPIgnored,
    WrongSeed,
    default_sampling,
)
from localnet.cheating_miner.sketch_cheats import RandomSketches, ReplayedSketches
from localnet.cheating_miner.slow_drip import SlowDrip


def _tokenizer(model_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_folder)


def _other_temperature(step: float, parts: MinerParts) -> Cheat:
    return OtherTemperature(step, default_sampling(parts.model_folder)["temperature"])


def _edited_template(parts: MinerParts) -> Cheat:
    return EditedTemplate(_tokenizer(parts.model_folder).get_chat_template())


def _refuse_unknown(parts: MinerParts) -> Cheat:
    return RefuseUnknown(parts, template_start(_tokenizer(parts.model_folder)))


def _prefill_attack(parts: MinerParts) -> Cheat:
    from vllm.entrypoints.serve.utils.fingerprint import get_system_fingerprint

    tokenizer = _tokenizer(parts.model_folder)

    def decode(token_ids: Sequence[int]) -> str:
        return str(tokenizer.decode(token_ids, skip_special_tokens=True))

    surroundings = Surroundings(
        model=parts.model,
        fingerprint=get_system_fingerprint(parts.engine.vllm_config),
        longest=parts.engine.model_config.max_model_len,
        defaults=default_sampling(parts.model_folder),
        decode=decode,
        read=engine_reads(parts.engine),
        clock=time.time,
    )
    return PrefillAttack(CheapWriter.load(parts.model_folder), surroundings)


CHEATS: dict[str, Factory] = {
    "system-prompt": lambda _: OwnSystemPrompt(),
    "template": _edited_template,
    "temperature-up": partial(_other_temperature, TEMPERATURE_STEP),
    "temperature-down": partial(_other_temperature, -TEMPERATURE_STEP),
    "wrong-seed": lambda _: WrongSeed(),
    "top-p-ignored": lambda _: TopPIgnored(),
    "truncated": lambda _: Truncated(),
    "padded": lambda _: Padded(),
    "other-text": lambda _: OtherText(),
    "prefill-attack": _prefill_attack,
    "late-computation": LateComputation,
    "replayed-opening": ReplayedOpening,
    "replayed-sketches": lambda _: ReplayedSketches(),
    "refuse-unknown": _refuse_unknown,
    "probes-only": lambda parts: ProbesOnly(_prefill_attack(parts)),
    "random-sketches": lambda _: RandomSketches(),
    "slow-drip": lambda _: SlowDrip(),
}
"""By the names of `behaviours.BEHAVIOURS`."""
