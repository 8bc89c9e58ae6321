"""A base for readers in tests that only say what `get` gives."""

from shared.errors import StoreError
from shared.object_store import MAX_OBJECT_BYTES


class WholeReads:
    """Sizes and ranges follow from whole objects."""

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        raise NotImplementedError

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data = self.get(key)[start : start + length]
        if len(data) != length:
            raise StoreError(f"{key} ends before {length} bytes from {start} are read")
        return data

    def size(self, key: str) -> int:
        return len(self.get(key))
