import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from shared.diagnosis import Finding
from tests.shared.object_server import answer, serving
from validator.store_check_credentials import check_credentials
from validator.store_check_endpoint import check_endpoint
from validator.store_explanations import Place


def look(
    endpoint: str, ahead_s: float = 0.0, bucket: str = "epochs", region: str = "auto"
) -> dict[str, Finding]:
    found = check_endpoint(Place(bucket, endpoint, region), lambda: time.time() + ahead_s)
    return {finding.subject: finding for finding in found}


def refuse(request: BaseHTTPRequestHandler) -> None:
    """As S3-compatible services answer a request without signature."""
    answer(request, 403, b"<Error/>", Content_Type="application/xml")


def test_a_service_that_answers_is_reached() -> None:
    with serving(refuse) as url:
        found = look(url)
    assert {check: finding.grade for check, finding in found.items()} == {
        "name": "ok",
        "connection": "ok",
        "clock": "ok",
    }


@pytest.mark.parametrize(
    ("ahead_s", "level", "words"),
    [
        (0, "ok", "agree"),
        (60, "note", "ahead of"),
        (-60, "note", "behind"),
        (8 * 60, "bad", "watchtowers refuse epochs"),
        (20 * 60, "bad", "20 min ahead of the service's; signatures are refused"),
        (-3 * 3600, "bad", "180 min behind the service's; signatures are refused"),
    ],
)
def test_clocks_that_differ_are_told_by_how_much(ahead_s: float, level: str, words: str) -> None:
    with serving(refuse) as url:
        clock = look(url, ahead_s)["clock"]
    assert clock.grade == level
    assert words in clock.what
    assert bool(clock.cure) == (level != "ok")


def test_a_service_without_a_clock_is_told() -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response_only(403)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with serving(respond) as url:
        assert look(url)["clock"].grade == "note"


def test_a_name_without_address_is_told_and_nothing_else_is_tried() -> None:
    found = look("https://no-such-host.invalid")
    assert list(found) == ["name"]
    assert found["name"].grade == "bad"
    assert "no-such-host.invalid" in found["name"].what


def test_a_port_at_which_nobody_listens_is_told() -> None:
    found = look("http://127.0.0.1:1")
    assert found["connection"].grade == "bad"
    assert "can't be reached" in found["connection"].what


def test_a_silent_service_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(*_: object, **__: object) -> None:
        raise httpx.ReadTimeout("")

    monkeypatch.setattr(httpx, "head", time_out)
    assert "ReadTimeout" in look("http://127.0.0.1:1")["connection"].what


@pytest.fixture
def self_signed(tmp_path: Path) -> Iterator[str]:
    """A service over TLS whose certificate nobody trusts."""
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_nobody_trusts_is_told(self_signed: str) -> None:
    found = look(self_signed)["connection"]
    assert found.grade == "bad"
    assert "does not trust" in found.what
    assert "AWS_CA_BUNDLE" in found.cure


def test_tls_where_there_is_none_is_told() -> None:
    with serving(refuse) as url:
        found = look(url.replace("http://", "https://"))["connection"]
    assert found.grade == "bad"
    assert "does not speak TLS" in found.what


def test_a_web_page_in_the_place_of_the_service_is_told() -> None:
    with serving(
        lambda request: answer(request, 200, b"<html>", Content_Type="text/html; charset=utf-8")
    ) as url:
        found = look(url)["address"]
    assert found.grade == "bad"
    assert "web page" in found.what


def test_a_service_that_sends_on_to_https_is_told() -> None:
    with serving(lambda request: answer(request, 301, Location="https://127.0.0.1/")) as url:
        found = look(url)["address"]
    assert found.grade == "bad"
    assert found.cure == "--store-endpoint https://127.0.0.1"


@pytest.mark.parametrize(
    "endpoint",
    ["https://epochs.no-such-host.invalid:1", "http://127.0.0.1:1/epochs", "http://127.0.0.1:1/epochs/"],
)
def test_the_buckets_name_in_the_endpoint_is_told(endpoint: str) -> None:
    found = look(endpoint)["address"]
    assert found.grade == "bad"
    assert "to a bucket within epochs" in found.what
    assert found.cure in (
        "--store-endpoint https://no-such-host.invalid:1",
        "--store-endpoint http://127.0.0.1:1",
    )


def test_amazon_without_a_region_is_told() -> None:
    assert "no region 'auto'" in look("https://s3.auto.amazonaws.com")["address"].what


def test_r2_with_a_region_of_amazons_is_noted() -> None:
    found = look("https://no-such-account.invalid.r2.cloudflarestorage.com", region="eu-west-1")
    assert found["address"].grade == "note"


def test_requests_in_the_clear_are_noted() -> None:
    assert (
        look("http://no-such-host.invalid")["address"].cure == "--store-endpoint https://no-such-host.invalid"
    )


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """No credentials anywhere."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return monkeypatch


SECRET = "a-secret-that-nobody-may-read"


def test_credentials_of_the_environment_are_named_and_not_shown(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789")
    bare.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    found = check_credentials({})
    assert found.grade == "ok"
    assert (
        found.what == "boto3 uses access key id AKIA… (14 characters) from the environment, AWS_ACCESS_KEY_ID"
    )


def test_credentials_of_a_file_are_named_by_file_and_profile(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pair = f"aws_access_key_id = AKIA0123456789\naws_secret_access_key = {SECRET}\n"
    (tmp_path / "credentials").write_text(f"[r2]\n{pair}")
    bare.setenv("AWS_PROFILE", "r2")
    found = check_credentials({})
    assert found.grade == "ok"
    assert f"from {tmp_path / 'credentials'}, profile r2" in found.what
    assert SECRET not in found.what


def test_a_profile_that_does_not_exist_is_told(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_PROFILE", "nobodys")
    found = check_credentials({})
    assert found.grade == "bad"
    assert "nobodys" in found.what


def test_missing_credentials_are_told(bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = check_credentials({}, tmp_path / ".env")
    assert found.grade == "bad"
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in found.cure


def test_credentials_that_lie_in_dotenv_are_told_to_be_exported(
    bare: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"AWS_ACCESS_KEY_ID=AKIA\nAWS_SECRET_ACCESS_KEY={SECRET}\n")
    found = check_credentials({}, tmp_path / ".env")
    assert "boto3 reads the environment only" in found.what
    assert "set -a" in found.cure
    assert SECRET not in found.what + found.cure


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_a_key_pair_is_told(bare: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    bare.setenv(name, "x")
    found = check_credentials({name: "x"}, tmp_path / ".env")
    assert found.grade == "bad"
    assert "AWS_" in found.cure


def test_a_line_end_in_a_secret_is_told(bare: pytest.MonkeyPatch) -> None:
    bare.setenv("AWS_ACCESS_KEY_ID", "AKIA0123456789")
    bare.setenv("AWS_SECRET_ACCESS_KEY", SECRET + "\n")
    found = check_credentials({})
    assert found.grade == "bad"
    assert "blanks or line ends" in found.what
