"""Which key a request's head carries, and what counts as one client without a key."""

from typing import Any

import pytest

from gateway.credentials import address_prefix, key_in
from gateway.errors import ApiError


def scope(*headers: tuple[str, str], client: str | None = None) -> dict[str, Any]:
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    return {"type": "http", "headers": encoded, "client": (client, 5000) if client is not None else None}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([("authorization", "Bearer cst_abc")], "cst_abc"),
        ([("authorization", "bearer   cst_abc ")], "cst_abc"),
        ([("x-api-key", "cst_abc")], "cst_abc"),
        ([("api-key", "cst_abc")], "cst_abc"),
        ([("authorization", "Bearer none"), ("x-api-key", "cst_abc")], "cst_abc"),
        ([("authorization", "Bearer cst_abc"), ("x-api-key", "cst_other")], "cst_abc"),
        ([("authorization", "Bearer sk-of-another-service")], "sk-of-another-service"),
        ([], None),
        ([("authorization", "Bearer none")], None),
        ([("authorization", "Bearer EMPTY")], None),
        ([("authorization", "Bearer")], None),
        ([("x-api-key", "")], None),
    ],
)
def test_a_key_is_found_where_clients_put_it(headers: list[tuple[str, str]], key: str | None) -> None:
    assert key_in(scope(*headers)) == key


@pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "cst_abc", "Token cst_abc"])
def test_another_way_to_authenticate_is_told(value: str) -> None:
    with pytest.raises(ApiError) as caught:
        key_in(scope(("authorization", value)))
    assert (caught.value.status, caught.value.code) == (401, "invalid_api_key")
    assert "Bearer" in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("not an address", "unknown"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_who_has_one_address_of_a_line_has_all_of_it(address: str | None, prefix: str) -> None:
    assert address_prefix(scope(client=address)) == prefix
