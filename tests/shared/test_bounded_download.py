import httpx
import pytest

from shared.bounded_download import Downloads
from shared.errors import DownloadFailed


def test_a_failure_without_words_is_named_by_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("")

    monkeypatch.setattr(httpx.Client, "stream", time_out)
    with Downloads(10.0) as downloads, pytest.raises(DownloadFailed, match="can't be read: ReadTimeout"):
        downloads.get("https://gateway.example.org", 100)
