import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import bittensor as bt
import pytest

from localnet.chain_node import dev_client
from localnet.chain_node.config import WHAT_IT_IS_NOT, NodeConfig, parse_arguments
from tests.localnet.chain_node.node_process import REPOSITORY, NodeProcess
from tests.localnet.chain_node.raw_connection import raw_connection
from tests.localnet.chain_node.running_node import NETUID, TAO, wait

ON_DEMAND = ("--port", "0", "--block-seconds", "0")


def connect(url: str) -> bt.Subtensor:
    return bt.Subtensor(url, fallback_endpoints=[], archive_endpoints=[])


def port_of(url: str) -> str:
    return str(urlsplit(url).port)


def test_everything_survives_kill_9(tmp_path: Path, make_wallet: Callable[[str], bt.Wallet]) -> None:
    wallet = make_wallet("validator")
    hotkey, coldkey = wallet.hotkey.ss58_address, wallet.coldkeypub.ss58_address
    flags = (*ON_DEMAND, "--state-dir", tmp_path / "chain")
    with NodeProcess(*flags) as node:
        wait(dev_client.fund(node.url, coldkey, 5 * TAO))
        wait(dev_client.register_neuron(node.url, NETUID, hotkey, coldkey, validator_permit=True))
        before = connect(node.url)
        assert before.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), wallet).success
        assert before.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), wallet).success
        hashes = [before.block_info(number).hash for number in range(before.block + 1)]
        before.close()
        assert node.end(signal.SIGKILL)[0] == -signal.SIGKILL
    with NodeProcess(*flags) as node:
        after = connect(node.url)
        assert [after.block_info(number).hash for number in range(after.block + 1)] == hashes
        assert after.subnets.metagraph(NETUID).neuron(0).axon == "203.0.113.7:8091"
        assert after.weights.weights(NETUID) == {0: {0: 1.0}}
        assert after.balances.get(coldkey).rao == 5 * TAO
        wait(dev_client.new_blocks(node.url, 100))
        assert after.execute(bt.SetWeights(netuid=NETUID, weights={0: 1.0}), wallet).success
        after.close()


def test_a_node_killed_while_it_makes_blocks_has_no_half_written_state(tmp_path: Path) -> None:
    """Block after block funds one account, so the balance says which blocks were written."""
    account = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
    flags = (*ON_DEMAND, "--state-dir", tmp_path)

    async def fund_and_kill(node: NodeProcess) -> None:
        async with raw_connection(node.url) as raw:
            for _ in range(300):
                await raw.send("dev_fund", account, TAO)
            await raw.call("system_name")
            for _ in range(300):
                await raw.send("dev_fund", account, TAO)
            node.process.kill()

    with NodeProcess(*flags) as node:
        wait(fund_and_kill(node))
        node.finish()
    with NodeProcess(*flags) as node:
        client = connect(node.url)
        assert client.block >= 300
        assert client.balances.get(account).rao == client.block * TAO
        client.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_cleanly_with_clients_connected(how: signal.Signals) -> None:
    async def connected() -> tuple[int, str]:
        async with raw_connection(node.url) as raw:
            await raw.call("chain_subscribeNewHeads")
            return await asyncio.to_thread(node.end, how)

    with NodeProcess(*ON_DEMAND) as node:
        assert wait(connected()) == (0, "")


def test_the_node_says_what_it_is_not_when_it_starts() -> None:
    with NodeProcess(*ON_DEMAND) as node:
        assert node.url.startswith("ws://127.0.0.1:")
        assert node.first_lines[0] == WHAT_IT_IS_NOT


def test_a_taken_port_is_one_plain_sentence_and_exit_code_1() -> None:
    with NodeProcess(*ON_DEMAND) as first:
        port = port_of(first.url)
        with NodeProcess("--port", port) as second:
            code, stderr = second.finish()
        assert code == 1
        assert stderr.strip() == (
            f"127.0.0.1:{port} is taken by another program: stop it, or choose another --port"
        )


def test_a_state_directory_in_use_is_one_plain_sentence_and_exit_code_1(tmp_path: Path) -> None:
    flags = (*ON_DEMAND, "--state-dir", tmp_path)
    with NodeProcess(*flags) as first:
        assert first.url
        with NodeProcess(*flags) as second:
            code, stderr = second.finish()
    assert code == 1
    assert stderr.count("\n") == 1
    assert "is another node running on it?" in stderr


def test_the_flags_describe_the_first_block() -> None:
    flags = ("--tempo", "33", "--weights-rate-limit", "4", "--commit-reveal", "--netuid", "12")
    with NodeProcess(*ON_DEMAND, *flags) as node:
        client = connect(node.url)
        values = client.read("subnet_hyperparameters", netuid=12)
        assert (values["tempo"], values["weights_rate_limit"]) == (33, 4)
        assert values["commit_reveal_weights_enabled"] is True
        assert client.subnets.metagraph(NETUID) is None
        client.close()


def test_help_loads_none_of_the_heavy_packages() -> None:
    program = (
        "import sys; sys.argv = ['x', '--help']\n"
        "from localnet.chain_node.__main__ import run\n"
        "try:\n    run()\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'bittensor', 'bittensor_core', 'websockets', 'cryptography', 'orjson'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert WHAT_IT_IS_NOT in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--port", "70000"],
        ["--port", "-1"],
        ["--block-seconds", "-1"],
        ["--block-seconds", "nan"],
        ["--block-seconds", "0.0001"],
        ["--netuid", "0"],
        ["--tempo", "1.5"],
        ["--no-such-flag"],
    ],
)
def test_impossible_flags_are_a_usage_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(arguments)
    assert "error:" in capsys.readouterr().err


def test_without_flags_the_node_is_that_of_network_local() -> None:
    config = parse_arguments([])
    assert config == NodeConfig()
    assert (config.host, config.port, config.slot_duration_ms) == ("127.0.0.1", 9944, 1_000)
    assert parse_arguments(["--block-seconds", "0.25"]).slot_duration_ms == 250
    assert parse_arguments(["--block-seconds", "0"]).slot_duration_ms == 1_000
