"""Looks at real stores, and at services that misbehave in one way each."""

import itertools
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from shared.diagnosis import Finding
from shared.object_store import FolderStore
from tests.shared.object_server import Respond, answer, public_folder, serving
from tests.shared.s3_server import BUCKET, s3_server
from validator import publish
from validator.publish_config import StoreCheckConfig
from validator.store_check import Around, check_store
from validator.store_check_objects import LARGE_BYTES


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def key_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-tests")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)


def around(clock: Callable[[], float] = time.time) -> Around:
    return Around(clock, {}, sleep=lambda _: None)


def look(store: str, **flags: Any) -> list[Finding]:
    return list(check_store(StoreCheckConfig(store=store, **flags), around()))


def levels(found: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.grade for finding in found}


def problems(found: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.what for finding in found if finding.grade == "bad"}


def cure(found: list[Finding], check: str) -> str:
    return next(finding.cure for finding in found if finding.subject == check)


ALL_OBJECT_CHECKS = ("list", "missing", "write", "create-only", "read", "ranges", "replace")


@pytest.mark.parametrize("prefix", ["", "/a/b"])
def test_a_bucket_in_order_is_found_in_order(s3_endpoint: str, prefix: str) -> None:
    found = look(f"s3://{BUCKET}{prefix}", store_endpoint=s3_endpoint, large=True)
    assert problems(found) == {}
    passed = [finding.subject for finding in found if finding.grade == "ok"]
    assert passed == ["name", "connection", "clock", "credentials", *ALL_OBJECT_CHECKS, "large"]
    assert "secret-of-tests" not in str(found)


def test_a_look_leaves_nothing_in_the_bucket(s3_endpoint: str) -> None:
    import boto3

    look(f"s3://{BUCKET}/left", store_endpoint=s3_endpoint, large=True)
    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    assert "Contents" not in client.list_objects_v2(Bucket=BUCKET, Prefix="left")


def test_a_bucket_that_does_not_exist_is_told(s3_endpoint: str) -> None:
    found = look("s3://no-such-bucket", store_endpoint=s3_endpoint)
    assert list(problems(found)) == ["list"]
    assert "there is no bucket no-such-bucket" in problems(found)["list"]


def test_a_folder_in_order_is_found_in_order(tmp_path: Path) -> None:
    found = look(str(tmp_path), large=True)
    assert set(levels(found).values()) == {"ok"}
    assert tuple(levels(found)) == ("folder", "disk", *ALL_OBJECT_CHECKS, "large", "delete")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path: Path) -> None:
    found = look(str(tmp_path / "store"))
    assert list(problems(found)) == ["folder"]
    assert cure(found, "folder").startswith(f"mkdir -p {tmp_path / 'store'}")
    assert not (tmp_path / "store").exists()


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is a file" in problems(look(str(tmp_path / "file")))["folder"]


def test_a_folder_of_somebody_else_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    found = look(str(tmp_path))
    assert "may not write there" in problems(found)["folder"]
    assert "chown" in cure(found, "folder")


def test_a_file_system_without_hard_links_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = look(str(tmp_path))
    assert "no hard links" in problems(found)["write"]
    assert "ext4" in cure(found, "write")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert problems(look(str(tmp_path)))["disk"].startswith("10 MiB are free")


class Service:
    """An S3-compatible service in memory, of which a test spoils one behaviour.

    `spoil` gets each request first, with the key that it is about, and says whether it has answered it.
    """

    def __init__(self, spoil: Callable[[BaseHTTPRequestHandler, str], bool] | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self._spoil = spoil or (lambda request, key: False)

    def __call__(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        key = unquote(parts.path).removeprefix(f"/{BUCKET}").lstrip("/")
        if self._spoil(request, key):
            return
        if not parts.path.startswith(f"/{BUCKET}"):
            fail(request, 403, "AccessDenied")
        elif "list-type" in parts.query:
            answer(request, 200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
        elif request.command == "PUT":
            self._put(request, key)
        elif request.command == "DELETE":
            self.objects.pop(key, None)
            answer(request, 204)
        else:
            self._get(request, key)

    def _put(self, request: BaseHTTPRequestHandler, key: str) -> None:
        data = request.rfile.read(int(request.headers["Content-Length"]))
        del request.headers["Content-Length"]
        if request.headers.get("If-None-Match") and key in self.objects:
            fail(request, 412, "PreconditionFailed")
            return
        self.objects[key] = data
        answer(request, 200)

    def _get(self, request: BaseHTTPRequestHandler, key: str) -> None:
        if key not in self.objects:
            fail(request, 404, "NoSuchKey")
            return
        data, wanted = self.objects[key], request.headers.get("Range")
        if wanted is None:
            answer(request, 200, data)
            return
        first, last = (int(part) for part in wanted.removeprefix("bytes=").split("-"))
        answer(request, 206, data[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(data)}")


def fail(request: BaseHTTPRequestHandler, status: int, code: str) -> bool:
    """Answer with an error of S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    answer(request, status, body, Content_Type="application/xml")
    return True


def look_at(respond: Respond, **flags: Any) -> list[Finding]:
    with serving(respond) as url:
        return look(f"s3://{BUCKET}", store_endpoint=url, store_region="us-east-1", **flags)


def test_the_service_of_these_tests_is_in_order_unless_it_is_spoilt() -> None:
    service = Service()
    assert problems(look_at(service, large=True)) == {}
    assert service.objects == {}


def test_a_store_that_ignores_create_only_writes_is_told_by_name() -> None:
    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        del request.headers["If-None-Match"]
        return False

    found = problems(look_at(Service(spoil)))
    assert "ignores `If-None-Match: *`, so published history could be overwritten" in found["create-only"]
    assert "other bytes than were created first" in found["read"]


def test_a_store_that_knows_no_conditions_at_all_is_told() -> None:
    found = look_at(Service(lambda r, key: "If-None-Match" in r.headers and fail(r, 501, "NotImplemented")))
    assert list(problems(found)) == ["write"]
    assert "If-None-Match" in cure(found, "write")


ON_WRITE = [
    ("AccessDenied", 403, "forbids"),
    ("SignatureDoesNotMatch", 403, "the signature is wrong"),
    ("QuotaExceeded", 403, "store no more"),
]


@pytest.mark.parametrize(("code", "status", "words"), ON_WRITE)
def test_a_write_that_is_refused_is_told_with_its_reason(code: str, status: int, words: str) -> None:
    found = look_at(Service(lambda r, key: r.command == "PUT" and fail(r, status, code)))
    assert list(problems(found)) == ["write"]
    assert words in problems(found)["write"]


ON_EVERYTHING = [
    ("Unauthorized", 401, "refuses the key without saying why"),
    ("InvalidAccessKeyId", 403, "does not know this access key id"),
    ("RequestTimeTooSkewed", 403, "too old or too new"),
    ("AuthorizationHeaderMalformed", 400, "the region 'us-east-1' is not that of the bucket"),
    ("SecondLevelDomainForbidden", 403, "in the host, not in the path"),
    ("MethodNotAllowed", 405, "does not speak S3"),
    ("ServiceUnavailable", 503, "overloaded"),
]


@pytest.mark.parametrize(("code", "status", "words"), ON_EVERYTHING)
def test_a_service_that_refuses_everything_is_told_with_its_reason(
    code: str, status: int, words: str
) -> None:
    found = look_at(lambda request: fail(request, status, code))  # type: ignore[arg-type]
    assert list(problems(found)) == ["list"]
    assert words in problems(found)["list"]
    assert cure(found, "list")


def test_a_bucket_that_is_elsewhere_is_told() -> None:
    found = look_at(Service(lambda r, key: is_listing(r) and fail(r, 301, "PermanentRedirect")))
    assert "another region or endpoint" in problems(found)["list"]
    assert "--store-region" in cure(found, "list")


def is_listing(request: BaseHTTPRequestHandler) -> bool:
    return "list-type" in request.path


def test_a_key_that_may_not_list_is_enough_if_missing_objects_are_told() -> None:
    found = look_at(Service(lambda r, key: is_listing(r) and fail(r, 403, "AccessDenied")))
    assert problems(found) == {}
    assert levels(found)["list"] == "note"


def test_a_key_to_which_missing_objects_look_forbidden_is_not_enough() -> None:
    """As Amazon S3 answers a key that may not list."""
    service = Service()

    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        forbidden = is_listing(request) or (request.command == "GET" and key not in service.objects)
        return forbidden and request.path.startswith(f"/{BUCKET}") and fail(request, 403, "AccessDenied")

    service._spoil = spoil
    found = look_at(service)
    assert list(problems(found)) == ["missing"]
    assert "can't be told from a forbidden one" in problems(found)["missing"]


def test_wrong_bytes_are_told() -> None:
    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        if request.command != "GET" or "probe" not in key or "Range" in request.headers:
            return False
        answer(request, 200, b"wrong")
        return True

    assert "other bytes" in problems(look_at(Service(spoil)))["read"]


def test_wrong_parts_are_told() -> None:
    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        if "Range" not in request.headers:
            return False
        answer(request, 206, bytes(50), Content_Range="bytes 100-149/1024")
        return True

    assert "a part of an object, or its size, is wrong" in problems(look_at(Service(spoil)))["ranges"]


def test_a_service_that_ignores_ranges_is_told() -> None:
    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        del request.headers["Range"]
        return False

    assert "a part of an object can't be read" in problems(look_at(Service(spoil)))["ranges"]


def test_a_pointer_that_keeps_its_old_bytes_is_told() -> None:
    service = Service()

    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        if request.command == "PUT" and key.endswith("latest.json") and key in service.objects:
            answer(request, 200)
            return True
        return False

    service._spoil = spoil
    assert "its old bytes are read" in problems(look_at(service))["replace"]


def test_a_pointer_that_may_not_be_replaced_is_told() -> None:
    service = Service()

    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        replacing = (
            request.command == "PUT" and "If-None-Match" not in request.headers and key in service.objects
        )
        return replacing and fail(request, 403, "AccessDenied")

    service._spoil = spoil
    assert "latest.json can't be replaced" in problems(look_at(service))["replace"]


def test_a_key_that_may_not_delete_is_good_and_its_probe_stays() -> None:
    service = Service(lambda r, key: r.command == "DELETE" and fail(r, 403, "AccessDenied"))
    found = look_at(service)
    assert problems(found) == {}
    (told,) = (finding for finding in found if finding.subject == "delete")
    assert told.grade == "note"
    assert "is good" in told.what
    folder = re.search(r"checks/[0-9a-f]{16}", told.what)
    assert folder is not None
    assert sorted(service.objects) == [f"{folder[0]}/latest.json", f"{folder[0]}/probe.jsonl"]


def test_one_object_is_not_written_twice_within_a_second() -> None:
    """R2 refuses that."""
    happened: list[str] = []

    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        if request.command == "PUT":
            happened.append(key.rsplit("/", 1)[-1])
        return False

    with serving(Service(spoil)) as url:
        config = StoreCheckConfig(store=f"s3://{BUCKET}", store_endpoint=url, store_region="us-east-1")
        list(check_store(config, Around(time.time, {}, sleep=lambda s: happened.append(f"waits {s:g} s"))))
    assert happened == ["probe.jsonl", "probe.jsonl", "latest.json", "waits 1.1 s", "latest.json"]


def test_large_objects_are_written_only_when_asked_for() -> None:
    sizes: list[int] = []

    def spoil(request: BaseHTTPRequestHandler, key: str) -> bool:
        if request.command == "PUT":
            sizes.append(int(request.headers["Content-Length"]))
        return False

    look_at(Service(spoil))
    assert max(sizes) == 1024
    found = look_at(
        Service(
            lambda r, key: (
                int(r.headers.get("Content-Length", 0)) == LARGE_BYTES and fail(r, 413, "EntityTooLarge")
            )
        )
    )
    assert "large" not in levels(found)
    found = look_at(
        Service(
            lambda r, key: (
                int(r.headers.get("Content-Length", 0)) == LARGE_BYTES and fail(r, 413, "EntityTooLarge")
            )
        ),
        large=True,
    )
    assert "8 MiB can't be stored" in problems(found)["large"]


def test_a_clock_that_differs_is_told_and_the_rest_is_tried() -> None:
    service = Service()
    with serving(service) as url:
        config = StoreCheckConfig(store=f"s3://{BUCKET}", store_endpoint=url, store_region="us-east-1")
        found = list(check_store(config, around(lambda: time.time() + 1200)))
    assert "signatures are refused" in problems(found)["clock"]
    assert levels(found)["write"] == "ok"


def look_in_public(folder: Path, respond: Respond, path: str = "") -> list[Finding]:
    with serving(respond) as url:
        return look(str(folder), public_url=url + path)


PUBLIC_CHECKS = ("public", "ranges", "missing", "cache", "listing")


def of_public(found: list[Finding]) -> list[Finding]:
    """The findings at the public address: those after the pointer was replaced."""
    return list(itertools.dropwhile(lambda finding: finding.subject != "public", found))[:-1]


def test_a_public_address_in_order_is_found_in_order(tmp_path: Path) -> None:
    found = of_public(look_in_public(tmp_path, public_folder(tmp_path), "/"))
    assert [(finding.subject, finding.grade) for finding in found] == [
        (check, "ok") for check in PUBLIC_CHECKS
    ]


def test_a_bucket_that_nobody_else_may_read_is_told(s3_endpoint: str) -> None:
    flags = {"store_endpoint": s3_endpoint, "public_url": f"{s3_endpoint}/{BUCKET}"}
    found = look(f"s3://{BUCKET}", **flags)
    assert list(problems(found)) == ["public"]
    assert "HTTP 403" in problems(found)["public"]
    assert "custom domain" in cure(found, "public")


@pytest.fixture(scope="module")
def open_bucket(s3_endpoint: str) -> str:
    """A bucket of which everybody may read objects."""
    import boto3

    client = boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="open-bucket")
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        # moto asks for the second where Amazon asks for the first alone.
        "Action": ["s3:GetObject", "s3:HeadObject"],
        "Resource": "arn:aws:s3:::open-bucket/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    client.put_bucket_policy(Bucket="open-bucket", Policy=json.dumps(policy))
    return "open-bucket"


def test_a_bucket_that_everybody_may_read_is_read(s3_endpoint: str, open_bucket: str) -> None:
    flags = {"store_endpoint": s3_endpoint, "public_url": f"{s3_endpoint}/{open_bucket}/below"}
    found = of_public(look(f"s3://{open_bucket}/below", **flags))
    assert [finding.subject for finding in found] == list(PUBLIC_CHECKS)
    assert problems(found) == {}


def test_a_public_address_of_the_bucket_and_not_of_the_store_is_told(
    s3_endpoint: str, open_bucket: str
) -> None:
    url = f"{s3_endpoint}/{open_bucket}"
    found = look(f"s3://{open_bucket}/a/b", store_endpoint=s3_endpoint, public_url=url)
    assert "the store is below a/b/" in problems(found)["public"]
    assert cure(found, "public") == f"followers give --source {url}/a/b"


@pytest.mark.parametrize(
    ("status", "body", "headers", "words"),
    [
        (403, b"", {}, "refuses readers without credentials (HTTP 403)"),
        (401, b"", {}, "refuses readers without credentials (HTTP 401)"),
        (404, b"", {}, "does not have what was just written"),
        (500, b"", {}, "HTTP 500"),
        (302, b"", {"Location": "https://elsewhere.example.org/"}, "sends readers on to https://elsewhere"),
        (200, b"<!doctype html><HTML>parked", {}, "serves a web page"),
        (200, b"other bytes", {}, "serves 11 other bytes than the 1024 that were written"),
    ],
)
def test_a_public_address_that_does_not_serve_the_store_is_told(
    tmp_path: Path, status: int, body: bytes, headers: dict[str, str], words: str
) -> None:
    found = look_in_public(tmp_path, lambda request: answer(request, status, body, **headers))
    assert list(problems(found)) == ["public"]
    assert words in problems(found)["public"]
    assert cure(found, "public")


def test_a_public_address_that_does_not_answer_is_told(tmp_path: Path) -> None:
    found = look(str(tmp_path), public_url="http://127.0.0.1:1")
    assert "can't be read" in problems(found)["public"]
    assert list(tmp_path.iterdir()) == []


def test_a_web_server_without_ranges_is_noted(tmp_path: Path) -> None:
    serve = public_folder(tmp_path)

    def respond(request: BaseHTTPRequestHandler) -> None:
        del request.headers["Range"]
        serve(request)

    found = of_public(look_in_public(tmp_path, respond))
    assert problems(found) == {}
    assert levels(found)["ranges"] == "note"


def test_a_web_server_with_wrong_ranges_is_told(tmp_path: Path) -> None:
    serve = public_folder(tmp_path)

    def respond(request: BaseHTTPRequestHandler) -> None:
        if "Range" in request.headers:
            answer(request, 206, bytes(50), Content_Range="bytes 100-149/1024")
        else:
            serve(request)

    assert "a part of an object" in problems(look_in_public(tmp_path, respond))["ranges"]


def test_a_web_server_that_has_a_page_for_everything_is_told(tmp_path: Path) -> None:
    serve = public_folder(tmp_path)

    def respond(request: BaseHTTPRequestHandler) -> None:
        if (tmp_path / request.path.lstrip("/")).is_file():
            serve(request)
        else:
            answer(request, 200, b"<html>start page")

    assert "answered with HTTP 200" in problems(look_in_public(tmp_path, respond))["missing"]


def test_a_cache_that_keeps_the_pointer_is_told(tmp_path: Path) -> None:
    kept: dict[str, bytes] = {}

    def respond(request: BaseHTTPRequestHandler) -> None:
        file = tmp_path / request.path.lstrip("/")
        if file.name == "latest.json" and file.is_file():
            answer(request, 200, kept.setdefault(request.path, file.read_bytes()))
        else:
            public_folder(tmp_path)(request)

    found = look_in_public(tmp_path, respond)
    assert "its old bytes are served" in problems(found)["cache"]
    assert "Cache Rules" in cure(found, "cache")


@pytest.mark.parametrize("listed", ["/", "/checks/"])
def test_a_listing_for_everybody_is_noted(tmp_path: Path, listed: str) -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        if (
            request.path.endswith("/")
            and request.path.startswith(listed)
            and len(request.path) >= len(listed)
        ):
            answer(request, 200, b"<title>Index of /</title>")
        else:
            public_folder(tmp_path)(request)

    found = of_public(look_in_public(tmp_path, respond))
    assert problems(found) == {}
    assert levels(found)["listing"] == "note"


def test_the_command_prints_lines_and_answers_with_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.main(["check", "--store", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok    folder        {tmp_path} is there and may be written"
    assert publish.main(["check", "--store", str(tmp_path / "none")]) == 1
    out = capsys.readouterr().out
    assert out.startswith("BAD   folder")
    assert "→ mkdir -p" in out


def test_the_command_prints_one_document_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish.main(["check", "--store", str(tmp_path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["well"] is True
    assert {finding["grade"] for finding in report["findings"]} == {"ok"}
    assert publish.main(["check", "--store", str(tmp_path / "none"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["well"] is False
    assert set(report["findings"][0]) == {"subject", "grade", "what", "cure"}


def test_what_was_published_before_is_left_alone(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("epochs/latest.json", b"{}")
    store.put("checks/older/probe.jsonl", b"x")
    look(str(tmp_path), large=True)
    assert store.keys("") == ["checks/older/probe.jsonl", "epochs/latest.json"]
    assert store.get("epochs/latest.json") == b"{}"
