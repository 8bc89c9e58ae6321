"""When a block was made, also where the node has discarded the block's state."""

from typing import Any

from bittensor._generated import storage
from bittensor._transport.errors import StateDiscardedError
from bittensor.result import ChainError as SdkChainError

_COMPACT_MODES = (1, 2, 4)
"""Bytes that a compact integer takes, by the two lowest bits of its first byte; a fourth mode is for more
bytes than an extrinsic has."""


async def block_timestamp_ms(client: Any, block_hash: str) -> int:
    """The block's own Unix time, from its state, or from its body, which nodes keep much longer.

    Raises:
        SdkChainError, ValueError: neither can be had.
    """
    try:
        module, item = storage.Timestamp.Now
        return int(await client._substrate.query(module, item, [], block_hash=block_hash))
    except SdkChainError as error:
        if not isinstance(error.__cause__, StateDiscardedError):
            raise
    answer = await client._substrate.raw.rpc_request("chain_getBlock", [block_hash])
    return await _timestamp_of_body(client, answer)


async def _timestamp_of_body(client: Any, answer: Any) -> int:
    extrinsics = answer["block"]["extrinsics"]
    if not extrinsics:
        raise ValueError("the block's state is discarded, and its body has no time: it is the first of all")
    first = bytes.fromhex(extrinsics[0].removeprefix("0x"))
    call = await client.decode_scale("Call", inherent_call(first))
    if (call["call_module"], call["call_function"]) != ("Timestamp", "set"):
        raise ValueError("the block does not begin with its time")
    return int(call["call_args"][0]["value"])


def inherent_call(extrinsic: bytes) -> bytes:
    """The encoded call of an unsigned extrinsic: what follows its length and its version byte.

    Raises:
        ValueError: it is cut short.
    """
    mode = extrinsic[0] & 3 if extrinsic else len(_COMPACT_MODES)
    if mode >= len(_COMPACT_MODES) or len(extrinsic) <= _COMPACT_MODES[mode] + 1:
        raise ValueError("the extrinsic is cut short")
    return extrinsic[_COMPACT_MODES[mode] + 1 :]
