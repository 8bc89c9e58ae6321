"""Typed access to the state: storage items by name, with decoded keys and values."""

from collections.abc import Iterator
from typing import Any

from localnet.chain_node.runtime import Runtime
from localnet.chain_node.state import Overlay, ReadableState


class LedgerReader:
    """Reads storage items (`Pallet.Name`) from any state.

    Values are plain Python: integers, booleans, lists, dicts, and ss58 addresses for accounts.
    """

    def __init__(self, runtime: Runtime, state: ReadableState) -> None:
        self.runtime = runtime
        self._state = state

    def get_encoded(self, item: str, *keys: Any) -> bytes | None:
        """The item's value as it is stored, or None where nothing was written."""
        return self._state.read(self.runtime.codec.storage_key(self.runtime.entry(item), list(keys)))

    def get(self, item: str, *keys: Any) -> Any:
        """The item's value; where nothing was written, its type's zero, or None if it is optional."""
        entry = self.runtime.entry(item)
        raw = self.get_encoded(item, *keys)
        if raw is not None:
            return self.runtime.codec.decode(entry.value_type, raw)
        return self.runtime.codec.decode(entry.decode_type(False), entry.default_bytes)

    def pairs(self, item: str, *fixed_keys: Any) -> list[tuple[Any, Any]]:
        """(remaining key, value) of every entry under the leading keys; several keys are a tuple."""
        entry, codec = self.runtime.entry(item), self.runtime.codec
        keys = list(self._keys(item, fixed_keys))
        values = [value for key in keys if (value := self._state.read(key)) is not None]
        pairs: list[tuple[Any, Any]] = codec.decode_map_pairs(entry, keys, values, fixed=len(fixed_keys))
        return pairs

    def _keys(self, item: str, fixed_keys: tuple[Any, ...]) -> Iterator[bytes]:
        prefix = self.runtime.codec.storage_key(self.runtime.entry(item), list(fixed_keys))
        return self._state.keys(prefix)


class Ledger(LedgerReader):
    """Reads and writes storage items in one layer of changes."""

    def __init__(self, runtime: Runtime, layer: Overlay) -> None:
        super().__init__(runtime, layer)
        self.layer = layer

    def put(self, item: str, *keys_and_value: Any) -> None:
        """Writes the last argument under the keys before it."""
        *keys, value = keys_and_value
        if value is None:
            raise TypeError(f"{item} cannot hold None; use `remove`")
        encoded = self.runtime.codec.encode(self.runtime.entry(item).value_type, value)
        self.put_encoded(item, *keys, encoded)

    def put_encoded(self, item: str, *keys_and_value: Any) -> None:
        """Writes the last argument, which is encoded already, under the keys before it."""
        *keys, encoded = keys_and_value
        self.layer.write(self.runtime.codec.storage_key(self.runtime.entry(item), keys), encoded)

    def remove(self, item: str, *keys: Any) -> None:
        """Removes one entry."""
        self.layer.write(self.runtime.codec.storage_key(self.runtime.entry(item), list(keys)), None)

    def nested(self) -> "Ledger":
        """A layer on top of this one, to be taken over with `absorb` or dropped."""
        return Ledger(self.runtime, Overlay(self.layer))

    def absorb(self, nested: "Ledger") -> None:
        self.layer.absorb(nested.layer.changes)
