"""A store as its followers see it: at its public address, without credentials."""

from collections.abc import Callable, Iterator

import httpx

from shared.diagnosis import Finding, bad, note, ok
from shared.errors import StoreError
from shared.object_store import HttpReader
from validator.store_check_endpoint import TIMEOUT_S
from validator.store_check_objects import Probe

Replace = Callable[[bytes], None]
"""Gives the pointer other bytes; raises StoreError."""

_CONNECT = (
    "connect a custom domain to the bucket (R2: bucket, Settings, Custom Domains), or allow public reads"
)
_LISTINGS = (b"<ListBucketResult", b"<EnumerationResults", b"Index of /", b"Directory listing for")


def check_public(url: str, prefix: str, probe: Probe, replace: Replace) -> Iterator[Finding]:
    """Whether followers get what was written; `prefix` is the store's within its bucket, as in ``a/b/``.

    The probe has been created and its pointer replaced once before; `replace` does so again.
    """
    base = url.rstrip("/")
    served = _serves(base, prefix, probe)
    yield served
    if served.grade == "bad":
        return
    yield from _check_parts(base, probe)
    yield _check_missing(base, probe)
    yield _check_pointer(base, probe, replace)
    yield _check_listing(base, prefix, probe)


def _get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, timeout=TIMEOUT_S, headers=headers)


def _serves(base: str, prefix: str, probe: Probe) -> Finding:
    try:
        answer = _get(f"{base}/{probe.key}")
        if answer.status_code == 404 and prefix:
            answer_below = _get(f"{base}/{prefix}{probe.key}")
            if answer_below.content == probe.data:
                words = f"{base} serves the whole bucket, and the store is below {prefix}"
                return bad("public", words, f"followers give --source {base}/{prefix.rstrip('/')}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return bad(
            "public",
            f"{base} can't be read: {str(error) or type(error).__name__}",
            f"correct it, or {_CONNECT}",
        )
    return _judge(base, answer, probe)


def _judge(base: str, answer: httpx.Response, probe: Probe) -> Finding:
    if answer.is_redirect:
        return bad(
            "public",
            f"{base} sends readers on to {answer.headers.get('Location', 'nowhere')}; they do not follow",
            "give followers the address at the end of that way",
        )
    if answer.status_code in (401, 403):
        return bad(
            "public", f"{base} refuses readers without credentials (HTTP {answer.status_code})", _CONNECT
        )
    if answer.status_code == 404:
        return bad(
            "public", f"{base} does not have what was just written", f"correct the address, or {_CONNECT}"
        )
    if answer.status_code != 200:
        return bad("public", f"{base} answers with HTTP {answer.status_code}", _CONNECT)
    if answer.content == probe.data:
        return ok("public", f"{base} serves what was written, without credentials")
    if b"<html" in answer.content[:4096].lower():
        return bad("public", f"{base} serves a web page in the place of objects", _CONNECT)
    return bad(
        "public",
        f"{base} serves {len(answer.content)} other bytes than the {len(probe.data)} that were written",
        "connect it to this bucket and prefix, and let nothing on the way change what it serves",
    )


def _check_parts(base: str, probe: Probe) -> Iterator[Finding]:
    answer = _get(f"{base}/{probe.key}", Range="bytes=100-149", **{"Accept-Encoding": "identity"})
    reader = HttpReader(base)
    try:
        right = reader.get_range(probe.key, 100, 50) == probe.data[100:150]
        right = right and reader.size(probe.key) == len(probe.data)
    except StoreError as error:
        yield bad(
            "ranges", f"parts of objects can't be read: {error}", "let the web server serve byte ranges"
        )
        return
    if not right:
        yield bad(
            "ranges", "a part of an object, or its size, is wrong", "let nothing on the way change objects"
        )
    elif answer.status_code != 206:
        yield note(
            "ranges",
            "a part of an object is answered with the whole of it, which costs readers time",
            "let the web server serve byte ranges",
        )
    else:
        yield ok("ranges", "parts of objects and their sizes can be read")


def _check_missing(base: str, probe: Probe) -> Finding:
    status = _get(f"{base}/{probe.missing}").status_code
    if status in (403, 404):
        return ok("missing", "an object that does not exist is said not to exist")
    return bad(
        "missing",
        f"an object that does not exist is answered with HTTP {status}, so readers can't tell",
        "let the web server answer 404, without a page of its own",
    )


def _check_pointer(base: str, probe: Probe, replace: Replace) -> Finding:
    """Read the pointer, replace it, read it again: a cache that keeps it would hide new epochs."""
    try:
        _get(f"{base}/{probe.pointer}")
        replace(probe.data)
    except (StoreError, httpx.HTTPError) as error:
        return bad("cache", f"the pointer can't be replaced: {error}", "see replace")
    if _get(f"{base}/{probe.pointer}").content == probe.data:
        return ok("cache", "a replaced pointer is seen at once")
    return bad(
        "cache",
        "after the pointer was replaced, its old bytes are served: followers would see new epochs late",
        "let the cache pass latest.json (Cloudflare: Caching, Cache Rules, bypass for file name latest.json)",
    )


def _check_listing(base: str, prefix: str, probe: Probe) -> Finding:
    root = base.removesuffix("/" + prefix.rstrip("/")) if prefix else base
    for url in (f"{root}/", f"{base}/{probe.folder}/"):
        if any(sign in _get(url).content[:65536] for sign in _LISTINGS):
            return note(
                "listing",
                f"{url} lists what the store holds, to everybody",
                "nothing published is secret, but other objects of the bucket may be: switch listings off",
            )
    return ok("listing", "objects can't be listed by everybody")
