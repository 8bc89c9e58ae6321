"""The way to an S3-compatible service: its address, name, TLS, and the two clocks."""

import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urlsplit

import httpx

from shared.diagnosis import Finding, bad, note, ok
from validator.store_explanations import R2_DOMAIN, Place

SIGNATURE_SKEW_S = 15 * 60
"""Signatures of version 4 are refused when the clocks are further apart (Amazon's `RequestTimeTooSkewed`)."""

FOLLOWER_SKEW_S = 5 * 60
"""Watchtowers refuse epochs that were closed further in their future (`epoch_check.MAX_CLOCK_SKEW_MS`)."""

NOTED_SKEW_S = 10

TIMEOUT_S = 15.0

Clock = Callable[[], float]
"""Unix time in seconds."""

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_endpoint(place: Place, clock: Clock) -> Iterator[Finding]:
    """Whether requests can reach the service at all; ends with the first problem that the others hang on."""
    parts = urlsplit(place.endpoint)
    yield from _check_address(parts, place)
    if not urllib.request.getproxies().keys() & {"http", "https", "all"}:
        unresolved = _resolve(parts)
        yield unresolved
        if unresolved.grade == "bad":
            return
    try:
        before_s = clock()
        answer = httpx.head(place.endpoint, timeout=TIMEOUT_S)
        now_s = (before_s + clock()) / 2
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield _unreachable(error, place)
        return
    yield from _answered(answer, parts, place)
    yield _clock_finding(answer.headers.get("Date"), now_s)


def _answered(answer: httpx.Response, parts: SplitResult, place: Place) -> Iterator[Finding]:
    elsewhere = urlsplit(answer.headers.get("Location", ""))
    if answer.is_redirect and elsewhere.hostname == parts.hostname and elsewhere.scheme != parts.scheme:
        yield bad(
            "address",
            f"{place.endpoint} sends requests on to {elsewhere.geturl()}",
            f"--store-endpoint {elsewhere.scheme}://{elsewhere.netloc}",
        )
    elif answer.is_success and answer.headers.get("Content-Type", "").startswith("text/html"):
        yield bad(
            "address",
            f"a web page answers at {place.endpoint}, not an S3 service",
            "give the service's S3 endpoint with --store-endpoint, not the address of its console",
        )
    else:
        yield ok("connection", f"{place.endpoint} answers{' over TLS' if parts.scheme == 'https' else ''}")


def _check_address(parts: SplitResult, place: Place) -> Iterator[Finding]:
    host, path = parts.hostname or "", parts.path.strip("/")
    if host == f"s3.{place.region}.amazonaws.com" and place.region == "auto":
        yield bad(
            "address",
            "no endpoint is named, and Amazon has no region 'auto'",
            "for R2 give --store-endpoint https://ACCOUNT_ID.r2.cloudflarestorage.com, for Amazon S3 the "
            "bucket's own --store-region, like eu-west-1",
        )
    if path == place.bucket or host.startswith(f"{place.bucket}."):
        bare = host.removeprefix(f"{place.bucket}.")
        port = f":{parts.port}" if parts.port else ""
        yield bad(
            "address",
            f"the endpoint has the bucket's name in it, so requests go to a bucket within {place.bucket}",
            f"--store-endpoint {parts.scheme}://{bare}{port}",
        )
    if parts.scheme == "http" and host not in _LOOPBACK:
        yield note(
            "address",
            "requests go unencrypted; whoever carries them can read and change what is published",
            f"--store-endpoint https://{parts.netloc}",
        )
    if host.endswith(R2_DOMAIN) and place.region not in ("auto", "us-east-1"):
        yield note("address", f"R2's region is auto, not {place.region}", "--store-region auto")


def _resolve(parts: SplitResult) -> Finding:
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or parts.scheme, type=socket.SOCK_STREAM)
    except OSError as error:
        return bad(
            "name",
            f"{host} has no address: {error.strerror or error}",
            "correct --store-endpoint, or this machine's name server (/etc/resolv.conf)",
        )
    addresses = {address[4][0] for address in found}
    return ok("name", f"{host} has {len(addresses)} address{'es' if len(addresses) > 1 else ''}")


def _unreachable(error: Exception, place: Place) -> Finding:
    if _caused_by(error, ssl.SSLCertVerificationError):
        return bad(
            "connection",
            f"{place.endpoint} shows a certificate that this machine does not trust: {error}",
            "correct the endpoint's name, and look at this machine's date; a service with a certificate "
            "authority of its own needs AWS_CA_BUNDLE=FILE and SSL_CERT_FILE=FILE",
        )
    if _caused_by(error, ssl.SSLError):
        return bad(
            "connection",
            f"{place.endpoint} does not speak TLS as asked: {error}",
            "http:// or https://, and the port, as the service's documentation says",
        )
    return bad(
        "connection",
        f"{place.endpoint} can't be reached: {str(error) or type(error).__name__}",
        "correct host and port of --store-endpoint, and let this machine's firewall pass connections to it",
    )


def _caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None:
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False


def _clock_finding(date: str | None, now_s: float) -> Finding:
    try:
        ahead_s = now_s - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return note("clock", "the service tells no time, so this machine's clock can't be compared")
    apart = f"{abs(ahead_s):.0f} s" if abs(ahead_s) < 120 else f"{abs(ahead_s) / 60:.0f} min"
    words = f"this machine's clock is {apart} {'ahead of' if ahead_s > 0 else 'behind'} the service's"
    cure = "set it by the network: timedatectl set-ntp true"
    if abs(ahead_s) > SIGNATURE_SKEW_S:
        return bad("clock", f"{words}; signatures are refused from 15 min on", cure)
    if abs(ahead_s) > FOLLOWER_SKEW_S:
        return bad("clock", f"{words}; watchtowers refuse epochs from 5 min in their future on", cure)
    if abs(ahead_s) > NOTED_SKEW_S:
        return note("clock", words, cure)
    return ok("clock", "this machine's clock and the service's agree")
