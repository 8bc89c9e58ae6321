"""docs/DATASET.md can't rot: its tables are those that are written, and its code runs as it stands."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from localnet.config import PROJECT_ROOT
from shared.dataset import Table
from tests.gateway.published_gateway import audited_gateway, publish_epochs
from tests.gateway.running_gateway import keypair
from validator.dataset_columns import DESCRIPTIONS
from validator.epoch_tables import FORMATS

PAGE = (PROJECT_ROOT / "docs" / "DATASET.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[SQL] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
HANG_S = 300.0

LOCAL_DUCKDB = next(block for block in PYTHON if "register_filesystem" in block)


def short(kind: Any) -> str:
    """An Arrow type as the page writes it: names of nested fields, without their types."""
    if pa.types.is_list(kind):
        return f"list of {short(kind.value_type)}"
    if pa.types.is_map(kind):
        return f"map of {short(kind.key_type)} to {short(kind.item_type)}"
    if pa.types.is_struct(kind):
        return "{" + ", ".join(field.name for field in kind) + "}"
    return str(kind)


def rows_of_the_page(table: str) -> list[str]:
    section = PAGE.split(f"\n### {table}\n")[1].split("\n### ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("table", FORMATS)
def test_the_page_has_every_column_as_it_is_written(table: Table) -> None:
    assert rows_of_the_page(table) == [
        f"| `{field.name}` | {short(field.type)}{' or null' if field.nullable else ''} | "
        f"{DESCRIPTIONS[table][field.name]} |"
        for field in FORMATS[table].arrow
    ]
    assert f"Schema `{FORMATS[table].schema}`." in PAGE


def test_the_page_has_no_other_tables() -> None:
    assert re.findall(r"^### (\S+)$", PAGE, re.MULTILINE) == list(FORMATS)


async def run(folder: Path, gateway: str, code: str) -> tuple[int | None, str]:
    """Exit status and output of a stranger's program, which does not see this one's code."""
    places = {"HOME": str(folder), "HF_HOME": str(folder / "hf"), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdout=PIPE, stderr=PIPE, cwd=folder, env=places | {"GATEWAY": gateway}
    )
    async with asyncio.timeout(HANG_S):
        output, errors = await process.communicate()
    return process.returncode, output.decode() + (errors.decode() if process.returncode else "")


async def test_the_code_of_the_page_runs_as_it_stands(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 2)
        rig.fails(keypair("miner0").ss58_address)
        await publish_epochs(gateway, rig, 1)
        status, said = await run(tmp_path, gateway.url, "\n".join(PYTHON))
        publisher = rig.summary(3).publisher
    assert status == 0, said
    for number in (1, 2, 3):
        assert f"epoch {number} holds: 12 records, signed by {publisher}" in said
    assert "num_rows: 36" in said
    assert keypair("miner0").ss58_address in said
    assert "vllm-native/1" in said


async def test_the_check_of_the_page_finds_a_file_that_was_changed(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        rig.change(rig.key("weights", 1), lambda data: data[:-1] + b"x")
        check = next(block for block in PYTHON if "previous_digest" in block)
        status, said = await run(tmp_path, gateway.url, "\n".join([*PYTHON[:2], check]))
    assert status == 1
    assert "AssertionError: dataset/weights/" in said


async def test_the_sql_of_the_page_runs_where_its_extension_is_replaced(tmp_path: Path) -> None:
    """`httpfs` is downloaded from DuckDB's own servers, so the page's other way of reading stands for it."""
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        [url] = re.findall(r"'(https://[^']+)'", SQL)
        own = f"{gateway.url}/v1/dataset/files/{rig.key('verdicts', 1)}"
        query = SQL.replace("INSTALL httpfs; LOAD httpfs;", "").replace(url, own)
        code = "\n".join([PYTHON[0], LOCAL_DUCKDB, f'print(duckdb.sql("""{query}"""))'])
        status, said = await run(tmp_path, gateway.url, code)
        audits = len(rig.rows("verdicts", 1))
    assert status == 0, said
    assert re.search(rf"1 │ pass +│ +{audits} ", said)
