"""The node's side of MEV shielding: decrypting what the SDK sends inside `MevShield.submit_encrypted`.

The SDK insists on it for registrations. Blob: key hash (16 bytes), length of the ML-KEM-768 ciphertext
(u16), that ciphertext, a 24-byte nonce, and the extrinsic under XChaCha20-Poly1305 with the shared secret
as its key (`encrypt_mlkem768` of bittensor-core). The main network changes the key every block; a
development node keeps one for good.
"""

from Crypto.Cipher import ChaCha20_Poly1305
from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from localnet.chain_node.scale_encoding import Reader, ScaleError

SEED_BYTES = 64
_KEY_HASH_BYTES = 16
_NONCE_BYTES = 24
_TAG_BYTES = 16


class ShieldError(ValueError):
    """A ciphertext that the shield's key does not open."""


class Shield:
    """Opens what was encrypted to its public key."""

    def __init__(self, seed: bytes) -> None:
        self._key = MLKEM768PrivateKey.from_seed_bytes(seed)

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def open(self, blob: bytes) -> bytes:
        """The extrinsic inside.

        Raises:
            ShieldError: the blob is malformed, or was encrypted to another key.
        """
        try:
            reader = Reader(blob)
            reader.take(_KEY_HASH_BYTES)
            secret = self._key.decapsulate(reader.take(reader.integer(2)))
            nonce, sealed = reader.take(_NONCE_BYTES), reader.rest()
            cipher = ChaCha20_Poly1305.new(key=secret, nonce=nonce)
            return cipher.decrypt_and_verify(sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:])
        except (ScaleError, ValueError, InvalidKey) as error:
            raise ShieldError(f"cannot decrypt the shielded extrinsic: {error}") from error
