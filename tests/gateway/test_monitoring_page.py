"""docs/MONITORING.md against a running gateway."""

import re
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import GatewayConfig
from gateway.reload import RELOADED
from tests.gateway.running_gateway import CHAT
from tests.gateway.test_process import REPOSITORY, client, scripted_subnet

PAGE = (REPOSITORY / "docs" / "MONITORING.md").read_text()
PREFIX = "constantinople_gateway_"


def metrics_on_the_page() -> dict[str, str]:
    """Name and type of every metric in the tables."""
    rows = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| (counter|gauge|histogram|) ?\|", PAGE, re.MULTILINE)
    return {name: kind for names, kind in rows for name in re.findall(r"`([a-z_]+)`", names)}


async def served(tmp_path: Path) -> dict[str, str]:
    async with scripted_subnet(tmp_path) as (_, url), aiohttp.ClientSession() as session:
        await client(url).chat.completions.create(**CHAT)
        async with session.get(f"{url}/metrics") as answer:
            text = await answer.text()
    found = {}
    for family in text_string_to_metric_families(text):
        name = family.name.removeprefix(PREFIX) + ("_total" if family.type == "counter" else "")
        found[name] = "" if name.startswith("process_") else family.type
    return found


async def test_every_metric_is_on_the_page_and_every_one_on_the_page_is_served(tmp_path: Path) -> None:
    assert metrics_on_the_page() == await served(tmp_path)


def test_alerts_name_metrics_that_exist() -> None:
    named = {name.removesuffix("_bucket") for name in re.findall(rf"\b{PREFIX}([a-z][a-z_]+)", PAGE)}
    assert len(named) > 10
    assert named <= set(metrics_on_the_page())


def test_settings_that_are_read_again_are_on_the_page() -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith("| SIGHUP")]
    assert set(re.findall(r"`--([a-z-]+)`", row)) == {name.replace("_", "-") for name in RELOADED}


@pytest.mark.parametrize("flag", sorted(set(re.findall(r"--(?:no-)?([a-z]+(?:-[a-z]+)*)", PAGE))))
def test_flags_on_the_page_exist(flag: str) -> None:
    of_others = {"otlp-traces-endpoint", "only"}
    assert flag in of_others or hasattr(GatewayConfig, flag.replace("-", "_"))
