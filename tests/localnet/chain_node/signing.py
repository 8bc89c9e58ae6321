"""Extrinsics signed by hand, right and wrong, with the SDK's codec."""

from dataclasses import dataclass
from typing import Any

from bittensor._transport.codec import RuntimeCodec
from bittensor.sp_core import Keypair

from localnet.chain_node.chain import Chain
from localnet.chain_node.wire_values import to_hex

IMMORTAL = "00"
SR25519 = 1


@dataclass(frozen=True)
class Signer:
    """Signs calls for one chain; every argument that differs from the right one gives a wrong extrinsic."""

    codec: RuntimeCodec
    genesis_hash: bytes
    keypair: Keypair

    @classmethod
    def of(cls, chain: Chain, keypair: Keypair) -> "Signer":
        genesis_hash = chain.hash_at(0)
        assert genesis_hash is not None
        return cls(chain.runtime.codec, genesis_hash, keypair)

    def sign(
        self,
        module: str,
        function: str,
        arguments: dict[str, Any],
        *,
        nonce: int = 0,
        tip: int = 0,
        era: dict[str, int] | str = IMMORTAL,
        era_block_hash: bytes | None = None,
        claimed_signer: Keypair | None = None,
    ) -> bytes:
        """A whole extrinsic."""
        call = self.codec.compose_call(module, function, arguments).data
        return self.sign_bytes(
            call, nonce=nonce, tip=tip, era=era, era_block_hash=era_block_hash, claimed_signer=claimed_signer
        )

    def sign_bytes(
        self,
        call: bytes,
        *,
        nonce: int = 0,
        tip: int = 0,
        era: dict[str, int] | str = IMMORTAL,
        era_block_hash: bytes | None = None,
        claimed_signer: Keypair | None = None,
    ) -> bytes:
        """A whole extrinsic of an encoded call, which may be anything."""
        payload = self.codec.signature_payload(
            call,
            era=era,
            nonce=nonce,
            tip=tip,
            tip_asset_id=None,
            genesis_hash=to_hex(self.genesis_hash),
            era_block_hash=to_hex(era_block_hash or self.genesis_hash),
        )
        raw, _ = self.codec.encode_signed_extrinsic(
            call,
            public_key=bytes((claimed_signer or self.keypair).public_key),
            signature=self.keypair.sign(payload),
            signature_version=SR25519,
            era=era,
            nonce=nonce,
            tip=tip,
            tip_asset_id=None,
        )
        return bytes(raw)

    def remark(self, text: bytes = b"hello", **signing: Any) -> bytes:
        """A call that changes nothing."""
        return self.sign("System", "remark", {"remark": text}, **signing)
