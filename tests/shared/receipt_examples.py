"""A small commitment and its receipt, made by the code that a miner uses."""

from collections.abc import Mapping, Sequence

import torch

from shared.canonical import sha256_hex, token_ids_digest
from shared.commitments import ChoiceShape, Commitment
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.signing import Signer
from shared.sketches import sketch_to_bytes

NUM_LAYERS = 3


def example_commitment(
    request_id: str = "request-one", choices: Sequence[ChoiceShape] = (ChoiceShape(0, 20, 12, 0),)
) -> Commitment:
    """A commitment over random sketches; token ids count up from 100."""
    token_ids: Mapping[int, Sequence[int]] = {
        c.index: list(range(100, 100 + c.prompt_tokens + c.output_tokens)) for c in choices
    }
    bare = Commitment(request_id, NUM_LAYERS, tuple(choices), token_ids, b"")
    generator = torch.Generator().manual_seed(7)
    blobs = [sketch_to_bytes(torch.randn(64, generator=generator)) for _ in bare.points().points]
    return Commitment(request_id, NUM_LAYERS, tuple(choices), token_ids, b"".join(blobs))


def receipt_body(commitment: Commitment, hotkey: str) -> ReceiptBody:
    """What the miner of that hotkey states about the commitment."""
    choices = tuple(
        ChoiceReceipt(
            index=c.index,
            prompt_digest=token_ids_digest(commitment.token_ids[c.index][: c.prompt_tokens]),
            prompt_tokens=c.prompt_tokens,
            output_digest=token_ids_digest(commitment.token_ids[c.index][c.prompt_tokens :]),
            output_tokens=c.output_tokens,
            cached_tokens=c.cached_tokens,
        )
        for c in commitment.choices
    )
    return ReceiptBody(
        request_id=commitment.request_id,
        hotkey=hotkey,
        model="tiny",
        request_digest=sha256_hex(b"{}"),
        sampler="vllm-native/1",
        seed=7,
        calibration_digest=sha256_hex(b"calibration"),
        num_layers=commitment.num_layers,
        choices=choices,
        merkle_root=commitment.tree().root.hex(),
        leaves=len(commitment.points()),
        received_at_ms=1_000,
        first_token_at_ms=1_050,
        finished_at_ms=1_200,
    )


def example_receipt(signer: Signer) -> Receipt:
    """A signed receipt over `example_commitment`."""
    return sign_receipt(receipt_body(example_commitment(), signer.ss58_address), signer)
