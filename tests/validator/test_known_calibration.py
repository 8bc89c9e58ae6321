"""A follower with the network's calibration file recomputes p-values, and refuses others."""

from pathlib import Path

import pytest

from shared.canonical import sha256_hex
from shared.errors import ModelError
from shared.object_store import FolderStore
from tests.shared.noise_examples import honest_noise
from tests.shared.test_calibration_source import calibration_bytes
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.published_epochs import Published
from tests.validator.test_watchtower_process import Rig
from validator.database import Database
from validator.epoch_check import check_latest
from validator.evidence import SHARES, e_value, log_e_value
from validator.known_calibration import KnownCalibration, known_calibration
from validator.verdicts import Verdict

KNOWN = KnownCalibration(sha256_hex(b"calibration"), honest_noise(3))
"""The file that the example auditor's epochs name, and what its verdicts' p-values follow from."""


@pytest.fixture
async def published(database: Database, tmp_path: Path) -> Published:
    rig, store = AuditRig(database), FolderStore(tmp_path / "store")
    for first in (0, 1000):
        await rig.run_epoch(epoch_traffic(first, rig.clock()))
        rig.publish_next(store)
    return Published(store, rig.clock())


def bent(verdict: Verdict) -> Verdict:
    """A pass with p-values that its scores do not have, and the weight and ratios that follow from them."""
    lie = tuple(one.model_copy(update={"p_value": 0.9}) for one in verdict.evidence)
    ratios = verdict.ratios | {one.statistic: e_value(one.p_value) for one in lie if one.statistic in SHARES}
    return verdict.model_copy(update={"evidence": lie, "log_e": log_e_value(lie), "ratios": ratios})


def test_an_untouched_epoch_passes(published: Published) -> None:
    check_latest(published.store, published.expected(calibration=KNOWN), None)


def test_p_values_that_do_not_follow_from_scores_are_refused_by_whom_has_the_file(
    published: Published,
) -> None:
    verdicts = [bent(one) if one.outcome == "pass" else one for one in published.verdicts()]
    published.lie_with_evidence(published.requests(), verdicts)
    check_latest(published.store, published.expected(), None)
    assert published.refusal(calibration=KNOWN) == "evidence"


def test_an_epoch_that_was_audited_with_another_file_is_refused(published: Published) -> None:
    other = KnownCalibration(sha256_hex(b"another"), honest_noise(3))
    assert published.refusal(calibration=other) == "calibration"


def test_a_file_is_known_by_its_digest_and_its_distributions(tmp_path: Path) -> None:
    data = calibration_bytes(noise=honest_noise(2))
    (tmp_path / "c").write_bytes(data)
    assert known_calibration(str(tmp_path / "c"), tmp_path) == KnownCalibration(
        sha256_hex(data), honest_noise(2)
    )


def test_a_file_that_says_nothing_of_honest_audits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(calibration_bytes())
    with pytest.raises(ModelError, match="no honest distributions"):
        known_calibration(str(tmp_path / "c"), tmp_path)


@pytest.mark.parametrize("data", [None, b"rubbish"])
def test_a_file_that_is_missing_or_damaged_is_refused(data: bytes | None, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / "c").write_bytes(data)
    with pytest.raises(ModelError, match="calibration file"):
        known_calibration(str(tmp_path / "c"), tmp_path)


async def test_a_watchtower_sets_no_weights_of_an_epoch_that_was_audited_with_another_file(
    database: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(database, tmp_path)
    await rig.publish_epoch(0)
    rig.restart(KnownCalibration(sha256_hex(b"another"), honest_noise(3)))
    assert await rig.tower.once() == 1
    assert "refused (calibration)" in caplog.text
    assert rig.chain.sent == []
    rig.restart(KNOWN)
    assert await rig.tower.once() == 0
    assert rig.set_weights == rig.published_weights()
    rig.own_database.close()
