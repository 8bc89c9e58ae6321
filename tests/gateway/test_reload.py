"""What changes while the gateway runs: the list of miners, and the settings that SIGHUP has read again."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import openai
import pytest

from gateway.admission import anonymous_limits
from gateway.config import GatewayConfig, StaticMiner, load_config, read_miners_file
from gateway.miner_list import FileWatch, ListedMiners
from gateway.reload import Settings
from shared.errors import ConfigError
from tests.gateway.running_gateway import CHAT, keypair, running_gateway

ALICE, BOB, CAROL = (keypair(name).ss58_address for name in ("alice", "bob", "carol"))


def miner(hotkey: str, port: int = 8091) -> StaticMiner:
    return StaticMiner(f"127.0.0.1:{port}", hotkey)


def test_a_file_lists_a_miner_on_each_line(tmp_path: Path) -> None:
    file = tmp_path / "miners"
    file.write_text(f"# ours\n\n127.0.0.1:8091={ALICE}\n  [::1]:8092={BOB}  # the second\n")
    assert read_miners_file(file) == [miner(ALICE), StaticMiner("[::1]:8092", BOB)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "lists no miner"),
        ("# nothing\n", "lists no miner"),
        (f"127.0.0.1:8091={ALICE}\nnonsense\n", "line 2 of"),
        (f"127.0.0.1:0={ALICE}\n", "1 to 65535"),
        ("127.0.0.1:8091=alice\n", "names no hotkey"),
        (f"127.0.0.1:8091={ALICE}\n127.0.0.1:8092={ALICE}\n", "twice"),
        ("\xff\n", "can't be read"),
        ("#" * (1 << 21), "more than"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "miners"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=words):
        read_miners_file(file)


def test_the_file_is_read_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_config(["--miners-file", str(tmp_path / "none")], {}, Path("/none"))
    file = tmp_path / "miners"
    file.write_text(f"127.0.0.1:8091={ALICE}\n")
    assert load_config(["--miners-file", str(file)], {}, Path("/none")).miners_file == file
    with pytest.raises(ConfigError, match="both are given"):
        load_config(["--miners-file", str(file), "--discover"], {}, Path("/none"))


async def test_a_hotkey_keeps_its_uid_while_it_is_listed() -> None:
    lists: list[Sequence[StaticMiner]] = [
        [miner(ALICE), miner(BOB)],
        [miner(BOB, 9000), miner(CAROL), miner(ALICE)],
        [miner(CAROL)],
        [miner(ALICE), miner(CAROL)],
    ]
    source = ListedMiners(lambda: lists.pop(0))
    seen = [{one.hotkey: one.uid for one in await source.listings()} for _ in range(4)]
    assert seen == [{ALICE: 0, BOB: 1}, {ALICE: 0, BOB: 1, CAROL: 2}, {CAROL: 2}, {ALICE: 0, CAROL: 2}]


def test_a_file_is_looked_at_only_when_it_has_changed(tmp_path: Path) -> None:
    file, told = tmp_path / "miners", list[int]()
    file.write_text("one")
    watch = FileWatch(file, lambda: told.append(1))
    watch.look()
    assert told == []
    file.write_text("another")
    watch.look()
    watch.look()
    assert told == [1]
    file.unlink()
    watch.look()
    assert told == [1, 1]


class TwoMiners:
    """A list that can go wrong."""

    def __init__(self, miners: Sequence[StaticMiner]) -> None:
        self.miners, self.wrong = miners, False

    def __call__(self) -> Sequence[StaticMiner]:
        if self.wrong:
            raise ConfigError("line 3 of miners has 'nonsense'")
        return self.miners


async def test_a_list_that_went_wrong_leaves_the_old_one_and_says_why(tmp_path: Path) -> None:
    read = TwoMiners([miner(ALICE)])
    async with running_gateway(tmp_path, source=ListedMiners(read)) as gateway:
        discovery, table = gateway.parts.discovery, gateway.parts.table
        read.miners, read.wrong = [miner(BOB)], True
        await discovery.refresh()
        assert [one.hotkey for one in table.all()] == [ALICE]
        assert discovery.chain_error == "line 3 of miners has 'nonsense'"
        assert discovery.errors == 1
        read.wrong = False
        await discovery.refresh()
        assert [one.hotkey for one in table.all()] == [BOB]


CONFIG = GatewayConfig(miners=("a",))


def test_what_can_change_does_and_what_can_not_waits_for_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "gateway.reload")
    settings = Settings(CONFIG, lambda: replace(CONFIG, miners=("b",), anonymous=False, port=1))
    taken: list[GatewayConfig] = []
    settings.follow(taken.append)
    settings.reload()
    assert taken == [settings.now] == [replace(CONFIG, miners=("b",), anonymous=False)]
    assert "--port changed, which needs a restart" in caplog.text
    assert "changed: --miners, --anonymous" in caplog.text


def test_settings_with_a_mistake_change_nothing_and_are_told(caplog: pytest.LogCaptureFixture) -> None:
    def wrong() -> GatewayConfig:
        raise ConfigError("CONSTANTINOPLE_PORT in .env is 'many'")

    settings = Settings(CONFIG, wrong)
    taken: list[GatewayConfig] = []
    settings.follow(taken.append)
    settings.reload()
    assert (settings.now, settings.errors, taken) == (CONFIG, 1, [])
    assert "stay as they are: CONSTANTINOPLE_PORT in .env is 'many'" in caplog.text


async def test_limits_without_a_key_change_while_it_runs(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous_requests_per_minute=1) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        with pytest.raises(openai.RateLimitError):
            await gateway.openai.chat.completions.create(**CHAT)
        admission = gateway.parts.admission
        admission.limit_anonymous(anonymous_limits(replace(CONFIG, anonymous_requests_per_minute=100)))
        answer = await gateway.openai.chat.completions.with_raw_response.create(**CHAT)
        assert answer.headers["x-ratelimit-limit-requests"] == "100"
        admission.limit_anonymous(anonymous_limits(replace(CONFIG, anonymous=False)))
        with pytest.raises(openai.AuthenticationError):
            await gateway.openai.chat.completions.create(**CHAT)


async def test_limits_that_stay_forget_nothing(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous_requests_per_minute=1) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        same = replace(CONFIG, anonymous_requests_per_minute=1, anonymous_tokens_per_minute=0)
        gateway.parts.admission.limit_anonymous(anonymous_limits(same))
        with pytest.raises(openai.RateLimitError):
            await gateway.openai.chat.completions.create(**CHAT)
