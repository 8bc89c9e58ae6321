from pathlib import Path

import pytest

from gateway.config import StaticMiner, load_config, static_miners
from shared.errors import ConfigError
from tests.gateway.running_gateway import keypair

HOTKEY = keypair("miner0").ss58_address


def load(*argv: str) -> object:
    return load_config(list(argv), environ={}, dotenv=Path("/nonexistent"))


def test_the_documented_command_is_understood() -> None:
    argv = ["--port", "8081", "--model", "Qwen/Qwen2.5-7B-Instruct", "--netuid", "97", "--discover"]
    config = load_config(argv, {}, Path("/none"))
    assert (config.port, config.model, config.netuid) == (8081, "Qwen/Qwen2.5-7B-Instruct", 97)
    assert config.discover
    assert (config.host, config.network, config.wallet, config.hotkey) == (
        "0.0.0.0",
        "finney",
        "validator",
        "default",
    )


def test_miners_can_be_listed_instead_of_discovered() -> None:
    config = load_config(["--miners", f"127.0.0.1:8091={HOTKEY},[::1]:8092={HOTKEY}"], {}, Path("/none"))
    assert static_miners(config.miners) == [
        StaticMiner("127.0.0.1:8091", HOTKEY),
        StaticMiner("[::1]:8092", HOTKEY),
    ]


def test_nobody_but_the_gateway_itself_is_trusted_by_default() -> None:
    assert load_config(["--discover"], {}, Path("/none")).trusted_callers == ()
    listed = load_config(["--discover", "--trusted-callers", f"{HOTKEY},{HOTKEY}"], {}, Path("/none"))
    assert listed.trusted_callers == (HOTKEY, HOTKEY)


def test_people_without_a_key_are_served_within_limits_by_default() -> None:
    config = load_config(["--discover"], {}, Path("/none"))
    assert config.anonymous
    assert config.anonymous_requests_per_minute > 0
    assert config.anonymous_tokens_per_minute > 0
    assert not load_config(["--discover", "--no-anonymous"], {}, Path("/none")).anonymous
    proxies = load_config(["--discover", "--trusted-proxies", "10.0.0.0/8,::1"], {}, Path("/none"))
    assert proxies.trusted_proxies == ("10.0.0.0/8", "::1")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "neither is given"),
        (["--discover", "--miners", f"127.0.0.1:8091={HOTKEY}"], "both are given"),
        (["--miners", "127.0.0.1:8091"], "names no hotkey"),
        (["--miners", "127.0.0.1:8091=alice"], "names no hotkey"),
        (["--miners", f"miner.example:8091={HOTKEY}"], "ip:port"),
        (["--miners", f"127.0.0.1:0={HOTKEY}"], "1 to 65535"),
        (["--discover", "--port", "70000"], "--port"),
        (["--discover", "--netuid", "many"], "--netuid"),
        (["--discover", "--idle-timeout-s", "0"], "--idle-timeout-s"),
        (["--discover", "--max-body-bytes", "1"], "--max-body-bytes"),
        (["--discover", "--prot", "1"], "unknown argument"),
        (["--discover", "--trusted-callers", f"{HOTKEY},bob"], "bob"),
        (["--discover", "--trusted-proxies", "127.0.0.1,proxy.example"], "proxy.example"),
        (["--discover", "--trusted-proxies", "10.0.0.1/8"], "host bits"),
        (["--discover", "--anonymous-requests-per-minute", "-1"], "--anonymous-requests-per-minute"),
        (["--discover", "--metrics-allow", "10.0.0.0/8,everybody"], "everybody"),
        (["--discover", "--otlp-endpoint", "collector:4318"], "http"),
        (["--discover", "--log-format", "xml"], "text, json"),
        (["--discover", "--log-level", "LOUD"], "DEBUG"),
        (["--discover", "--anonymous=no"], "ignored explicit argument"),
    ],
)
def test_a_wrong_setting_is_named_in_words(argv: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(*argv)
