from pathlib import Path

import pytest

from shared.anchors import Anchor, decode_anchor
from shared.errors import ChainError, ChainUnavailable
from shared.object_store import FolderStore
from tests.validator.audit_rig import AuditRig, epoch_traffic, subnet
from tests.validator.auditor_examples import AUDITOR, ExampleChain
from validator.anchoring import REFUSED_PAUSE_MS, AnchorSetter
from validator.database import Database
from validator.leases import LeaseLost


class CountingChain(ExampleChain):
    """Counts what is sent, and can refuse it, or lose the answer."""

    sends = 0
    refusal: ChainError | None = None
    loses_answer = False

    async def set_commitment(self, data: bytes) -> None:
        self.sends += 1
        if self.refusal:
            raise self.refusal
        await super().set_commitment(data)
        if self.loses_answer:
            raise ChainUnavailable("the connection broke before the answer came")


@pytest.fixture
def rig(database: Database) -> AuditRig:
    return AuditRig(database, CountingChain(subnet()))


def setter(rig: AuditRig) -> AnchorSetter:
    return AnchorSetter(rig.chain, rig.epochs, AUDITOR.ss58_address, rig.clock)


def on_chain(rig: AuditRig) -> Anchor | None:
    return decode_anchor(rig.chain.committed.get(AUDITOR.ss58_address, b""))


async def published(rig: AuditRig, tmp_path: Path) -> Anchor:
    sealed = await rig.run_epoch(epoch_traffic(1000 * rig.chain.height, rig.clock()))
    rig.publish_next(FolderStore(tmp_path / "store"))
    return Anchor(sealed.number, sealed.summary().records_root, sealed.digest)


async def test_each_published_epoch_is_anchored_once(rig: AuditRig, tmp_path: Path) -> None:
    anchors = setter(rig)
    await anchors.step()
    assert rig.chain.committed == {}, "nothing is published yet"
    for count in (1, 2):
        expected = await published(rig, tmp_path)
        for _ in range(3):
            await anchors.step()
        assert on_chain(rig) == expected
        assert isinstance(rig.chain, CountingChain)
        assert rig.chain.sends == count


async def test_an_epoch_that_is_only_sealed_is_not_anchored(rig: AuditRig) -> None:
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    await setter(rig).step()
    assert rig.chain.committed == {}


async def test_a_lost_answer_and_a_restart_send_nothing_twice(rig: AuditRig, tmp_path: Path) -> None:
    expected = await published(rig, tmp_path)
    assert isinstance(rig.chain, CountingChain)
    rig.chain.loses_answer = True
    anchors = setter(rig)
    with pytest.raises(ChainUnavailable):
        await anchors.step()
    await anchors.step()
    await setter(rig).step()
    assert (on_chain(rig), rig.chain.sends) == (expected, 1)


async def test_a_refusal_is_told_and_tried_again(rig: AuditRig, tmp_path: Path) -> None:
    expected = await published(rig, tmp_path)
    assert isinstance(rig.chain, CountingChain)
    rig.chain.refusal = ChainError("too many commitments for now")
    anchors = setter(rig)
    for _ in range(3):
        with pytest.raises(ChainError, match="too many"):
            await anchors.step()
    assert rig.chain.sends == 1, "a refusal is not asked for again and again"
    rig.chain.refusal = None
    rig.clock.now_ms += REFUSED_PAUSE_MS
    await anchors.step()
    assert (on_chain(rig), rig.chain.sends) == (expected, 2)


async def test_whoever_no_longer_leads_anchors_nothing(rig: AuditRig, tmp_path: Path) -> None:
    def confirm() -> None:
        raise LeaseLost("another auditor leads")

    await published(rig, tmp_path)
    with pytest.raises(LeaseLost):
        await AnchorSetter(rig.chain, rig.epochs, AUDITOR.ss58_address, rig.clock, confirm).step()
    assert rig.chain.committed == {}
