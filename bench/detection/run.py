"""The benchmark from flags to tables."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.detection.archive import Archive
from bench.detection.config import DetectionConfig
from bench.detection.kinds import kinds
from bench.detection.measuring import Laboratory, Measured, measure
from bench.detection.power import power
from bench.detection.requests import conversations, detection_requests
from bench.detection.reweigh import reweighed
from bench.detection.rows import CHEATS, HONEST, HONEST_CONDITIONS, Row, cheat_row, honest_row
from bench.detection.tables import (
    CHEAT_HEAD,
    HONEST_HEAD,
    KINDS_HEAD,
    cheat_cells,
    cheat_json,
    honest_cells,
    honest_json,
    kinds_cells,
    markdown,
)
from bench.plain_table import plain
from localnet.demo_model import DEMO_MODEL, build_demo_model
from localnet.subnet import SHIPPED_CALIBRATION
from shared.calibration import read_calibration
from shared.calibration_header import find_calibration
from shared.errors import ConfigError, ModelError
from shared.honest_noise import HonestNoise
from shared.reference_model import ReferenceModel
from validator.answer_checks import AnswerChecks
from validator.calibration_conditions import available_conditions
from validator.reference_worker import ReferenceWorker
from validator.scoring_config import ScoringConfig

Say = Callable[[str], None]

FIRST_HONEST_SHARE = 0.6
"""Share of the honest audits that goes to the engine most miners run; the other conditions share the rest."""


def wanted_rows(names: str) -> list[Row]:
    """The rows that `--rows` names.

    Raises:
        ConfigError: there is no such row.
    """
    honest = {f"{HONEST}-{condition}": condition for condition in HONEST_CONDITIONS}
    groups = {"all": [*honest, *CHEATS], "honest": list(honest), "cheats": list(CHEATS)}
    wanted = groups.get(names) or [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in honest and name not in CHEATS]
    if unknown:
        raise ConfigError(f"--rows: no row {', '.join(unknown)}; there are {', '.join(groups['all'])}")
    return [honest_row(honest[name]) if name in honest else cheat_row(name) for name in wanted]


def requests_of(row: Row, config: DetectionConfig) -> int:
    """How many requests a row is measured with.

    The last honest condition needs several devices; the others give all audits without it.
    """
    if not row.honest:
        return config.requests
    first = int(config.honest_audits * FIRST_HONEST_SHARE)
    others = math.ceil((config.honest_audits - first) / (len(HONEST_CONDITIONS) - 2))
    return first if row.condition == HONEST_CONDITIONS[0] else others


def laboratory(config: DetectionConfig) -> Laboratory:
    """Model, calibration and reference, loaded once.

    Raises:
        ModelError: one of them is missing.
    """
    models = config.folder / "models"
    model = (
        Path(config.model).expanduser().resolve() if config.model else build_demo_model(models / DEMO_MODEL)
    )
    file = SHIPPED_CALIBRATION if model.name == DEMO_MODEL else find_calibration(str(model), None)
    logs = config.work / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return Laboratory(
        model=model,
        models=models,
        calibration=read_calibration(file),
        calibration_file=file,
        reference=ReferenceWorker(lambda: ReferenceModel.load(str(model))),
        checks=AnswerChecks.load(str(model)),
        logs=logs,
    )


async def detect(config: DetectionConfig, say: Say) -> None:
    """Measure every wanted row, then print, write and hand on the tables.

    Raises:
        ConstantinopleError: a row could not be measured; the others are, and their tables are printed.
    """
    rows = wanted_rows(config.rows)
    shared = laboratory(config)
    archive = Archive(config.work, shared.calibration_file)
    runnable = {one.name for one in available_conditions(str(shared.model))}
    for row in rows:
        if row.condition not in runnable:
            say(f"{row.name}: left out, this machine can't run an engine like that for this model")
    rows = [row for row in rows if row.condition in runnable]
    measured: list[tuple[Row, Measured]] = []
    missing: list[str] = []
    try:
        for number, row in enumerate(rows, start=1):
            say(f"[{number}/{len(rows)}] {row.name}: {row.role.summary}")
            try:
                measured.append((row, await _measured(config, shared, archive, row, say)))
            except ModelError as error:
                missing.append(f"{row.name}: {error}")
                say(missing[-1])
    finally:
        shared.reference.close()
    noise = shared.calibration.header.noise
    if noise is None:
        raise ModelError(f"{shared.calibration_file} has no honest noise: run python -m validator.calibrate")
    publish(config, measured, noise, say)
    if missing:
        raise ModelError(f"{len(missing)} rows could not be measured: {'; '.join(missing)}")


async def _measured(
    config: DetectionConfig, shared: Laboratory, archive: Archive, row: Row, say: Say
) -> Measured:
    count = requests_of(row, config)
    found = (None if config.fresh else archive.load(row.name)) or Measured([], 0)
    known = {one.request_id for one in found.verdicts}
    requests = detection_requests(
        shared.calibration.header.model, conversations(), count, config.seed + sum(row.name.encode())
    )
    rest = [one for one in requests if one.request_id not in known][: count - len(known)]
    if config.as_measured or len(known) + found.unanswered >= count:
        say(f"{row.name}: measured before ({len(known)} audits); --fresh measures again")
        return found
    found.unanswered = 0
    await measure(shared, row, rest, found, lambda measured: archive.save(row.name, measured), say)
    failed = sum(one.outcome == "fail" for one in found.verdicts)
    say(f"{row.name}: {failed} of {len(found.verdicts)} audits failed, {found.unanswered} unanswered")
    return found


def publish(
    config: DetectionConfig, measured: Sequence[tuple[Row, Measured]], noise: HonestNoise, say: Say
) -> None:
    """Print the tables; write them where flags say."""
    scoring = ScoringConfig()
    measured = [
        (row, Measured([reweighed(one, noise) for one in found.verdicts], found.unanswered))
        for row, found in measured
        if found.verdicts
    ]
    cheats = [(row, power(found, scoring)) for row, found in measured if not row.honest]
    honest = [(row, found, power(found, scoring)) for row, found in measured if row.honest]
    tables: list[tuple[Sequence[str], list[list[str]]]] = []
    if cheats:
        tables.append((CHEAT_HEAD, [cheat_cells(row, found) for row, found in cheats]))
    if honest:
        pooled = Measured([one for _, found, _ in honest for one in found.verdicts], 0)
        named = [(row.condition, found, power_of) for row, found, power_of in honest]
        named.append(("all", pooled, power(pooled, scoring)))
        tables.append((HONEST_HEAD, [honest_cells(*one) for one in named]))
        honest_verdicts = [
            one for row, found, _ in honest if row.condition == HONEST_CONDITIONS[0] for one in found.verdicts
        ]
        each = [(row.name, kinds(found.verdicts, honest_verdicts, noise)) for row, found in measured]
        tables.append((KINDS_HEAD, [kinds_cells(name, found) for name, found in each]))
    for head, cells in tables:
        say("\n" + plain(head, cells))
    if config.out:
        text = "\n\n".join(markdown(head, cells) for head, cells in tables)
        config.out.write_text(text + "\n", encoding="utf-8")
    if config.json:
        rows = [cheat_json(row, found) for row, found in cheats]
        rows += [honest_json(*one) for one in honest]
        config.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
