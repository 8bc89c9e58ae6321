import orjson

from localnet.cheating_miner.slow_drip import DRIP_BYTES, PAUSE_S, SlowDrip
from tests.localnet.cheating_miner.rig import CHAT, HELLO, Rig


class Naps:
    """A sleep that only counts."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


async def test_a_whole_answer_with_its_receipt_comes_byte_by_byte() -> None:
    naps = Naps()
    connection = await Rig(lambda parts: SlowDrip(naps)).post(CHAT, messages=HELLO)
    assert "receipt" in orjson.loads(connection.body)
    pieces = [message["body"] for message in connection.sent[1:]]
    assert {len(piece) for piece in pieces} == {DRIP_BYTES}
    assert naps.seconds == [PAUSE_S] * (len(pieces) - 1)
    assert [message.get("more_body", False) for message in connection.sent[1:]][-2:] == [True, False]


async def test_a_stream_has_the_same_bytes_as_an_honest_one_but_for_its_receipt() -> None:
    naps = Naps()
    slow = await Rig(lambda parts: SlowDrip(naps)).stream()
    quick = await Rig().stream()
    assert slow[:-1] == quick[:-1]
    assert "receipt" in slow[-1]
    assert len(naps.seconds) > 500
