"""The servers that are compared, each started before the same upstream."""

import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.gateway.config import PROJECT_ROOT
from bench.gateway.processes import BenchError, Process, running
from bench.gateway.programs import MODEL
from localnet.wallets import VALIDATOR, create_party

SERVER_CORE = 0
START_S = 600.0
"""LiteLLM needs minutes to import on a busy machine."""

LITELLM = "litellm[proxy]==1.108.7"
VLLM_ROUTER = "vllm-router==0.1.17"
ENOUGH_A_MINUTE = "1000000000"
"""A limit that is counted and never reached: the gateway does all its work."""


class NotInstalled(BenchError):
    """A server of somebody else is not here, and can't be had."""


@dataclass(frozen=True)
class Site:
    """Where a server is started: before which upstream, and with which files."""

    folder: Path
    upstream_port: int
    hotkey: str
    workers: int


@dataclass(frozen=True)
class Server:
    """A server that answers; `process` is None for the upstream itself."""

    name: str
    port: int
    process: Process | None


def free_port() -> int:
    """A port of 127.0.0.1 that is free now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


@contextmanager
def _direct(site: Site) -> Iterator[Server]:
    yield Server("direct", site.upstream_port, None)


@contextmanager
def _nginx(site: Site) -> Iterator[Server]:
    program, port, folder = shutil.which("nginx"), free_port(), site.folder / "nginx"
    if program is None:
        raise NotInstalled("nginx is not installed: apt install nginx-light")
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(port=port, upstream=site.upstream_port, folder=folder))
    yield from _answering("nginx", [program, "-c", str(config), "-p", str(folder)], site, port)


_NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  keepalive_requests 100000000;
  upstream miner {{ server 127.0.0.1:{upstream}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://miner; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }}
  }}
}}
"""


@contextmanager
def _litellm(site: Site) -> Iterator[Server]:
    program, port = _installed(site.folder, "litellm", LITELLM), free_port()
    config = site.folder / "litellm.yaml"
    config.write_text(_LITELLM.format(model=MODEL, upstream=site.upstream_port))
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "DO_NOT_TRACK": "1"}
    environment["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
    yield from _answering("litellm", [*command, "--num_workers", "1"], site, port, environment)


_LITELLM = """model_list:
  - model_name: {model}
    litellm_params: {{model: "openai/{model}", api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
litellm_settings: {{telemetry: false, num_retries: 0}}
"""


@contextmanager
def _vllm_router(site: Site) -> Iterator[Server]:
    program, port = _installed(site.folder, "vllm-router", VLLM_ROUTER), free_port()
    command = [str(program), "--worker-urls", f"http://127.0.0.1:{site.upstream_port}", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--prometheus-port", str(free_port()), "--policy", "round_robin"]
    yield from _answering("vllm-router", [*command, "--log-level", "error"], site, port)


@contextmanager
def _gateway(site: Site) -> Iterator[Server]:
    port, folder = free_port(), site.folder / "gateway"
    wallets = site.folder / "wallets"
    create_party(VALIDATOR, wallets)
    command = [sys.executable, str(PROJECT_ROOT / "validator" / "hardened_gateway.py"), "--model", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--network", "local"]
    command += ["--miners", f"127.0.0.1:{site.upstream_port}={site.hotkey}", "--wallet-path", str(wallets)]
    command += ["--state-dir", str(folder / "state"), "--anonymous-requests-per-minute", ENOUGH_A_MINUTE]
    command += ["--anonymous-tokens-per-minute", ENOUGH_A_MINUTE, "--workers", str(site.workers)]
    shutil.rmtree(folder / "state", ignore_errors=True)
    yield from _answering("gateway", command, site, port)
    shutil.rmtree(folder / "state", ignore_errors=True)


def _answering(
    name: str, command: list[str], site: Site, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start a server, and wait until a chat request through it is answered."""
    core = None if site.workers > 1 else SERVER_CORE
    with running(name, command, site.folder, core, environment) as process:
        deadline = time.monotonic() + START_S
        while not _answers(port):
            process.check()
            if time.monotonic() > deadline:
                raise BenchError(f"{name} does not answer: {process.log_tail()}")
            time.sleep(0.1)
        yield Server(name, port, process)


def _answers(port: int) -> bool:
    body = b'{"model":"%s","messages":[{"role":"user","content":"hello"}],"max_tokens":4}' % MODEL.encode()
    headers = {"content-type": "application/json", "authorization": "Bearer none"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return b" word" in answer.read()
    except (urllib.error.URLError, OSError):
        return False


def _installed(folder: Path, name: str, requirement: str) -> Path:
    """A program from the package index, in an environment of its own.

    Raises:
        NotInstalled: it can't be had.
    """
    home = folder / name
    program, marker = home / "bin" / name, home / ".installed"
    if not marker.exists() or marker.read_text() != requirement:
        try:
            venv.create(home, with_pip=True)
            command = [str(home / "bin" / "pip"), "install", "--quiet", requirement]
            subprocess.run(command, check=True, capture_output=True)
        except (subprocess.CalledProcessError, OSError) as error:
            raise NotInstalled(f"{requirement} can't be installed: {error}") from None
        marker.write_text(requirement)
    return program


STARTERS: Mapping[str, Callable[[Site], AbstractContextManager[Server]]] = {
    "direct": _direct,
    "nginx": _nginx,
    "litellm": _litellm,
    "vllm-router": _vllm_router,
    "gateway": _gateway,
}
