from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    MAX_BATCH_REQUESTS,
    METHOD_NOT_FOUND,
    PARSE_ERROR,
    Params,
    RpcError,
    answer,
)
from localnet.chain_node.rpc_methods import unknown_method

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=10,
)


def echo(method: str, params: Params) -> Any:
    if method != "echo":
        raise unknown_method(method)
    return list(params.values)


def reply(message: str | bytes) -> Any:
    response = answer(message, echo)
    return None if response is None else orjson.loads(response)


def code(message: str | bytes) -> int:
    return int(reply(message)["error"]["code"])


def test_a_request_is_answered_under_its_id() -> None:
    assert reply('{"jsonrpc":"2.0","id":7,"method":"echo","params":[1,"a"]}') == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": [1, "a"],
    }
    assert reply('{"jsonrpc":"2.0","id":"x","method":"echo"}')["result"] == []


def test_a_notification_is_not_answered() -> None:
    assert reply('{"jsonrpc":"2.0","method":"echo"}') is None
    assert reply('[{"jsonrpc":"2.0","method":"echo"}]') is None


def test_an_unknown_method_is_named() -> None:
    response = reply('{"jsonrpc":"2.0","id":1,"method":"nothing"}')
    assert response["error"] == {"code": METHOD_NOT_FOUND, "message": "Method not found: nothing"}


@pytest.mark.parametrize("message", ["", "{", "nonsense", '{"id":1}}', b"\xff\xfe", "[" * 5_000, "NaN"])
def test_what_is_no_json_is_a_parse_error(message: str | bytes) -> None:
    assert code(message) == PARSE_ERROR


@pytest.mark.parametrize(
    "message",
    [
        "1",
        "null",
        '"echo"',
        "{}",
        "[]",
        '{"id":1,"method":"echo"}',
        '{"jsonrpc":"1.0","id":1,"method":"echo"}',
        '{"jsonrpc":"2.0","id":1,"method":5}',
        '{"jsonrpc":"2.0","id":{},"method":"echo"}',
        '{"jsonrpc":"2.0","id":1}',
    ],
)
def test_what_is_no_request_is_an_invalid_request(message: str) -> None:
    assert code(message) == INVALID_REQUEST


def test_parameters_by_name_are_invalid() -> None:
    assert code('{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":1}}') == INVALID_PARAMS


def test_every_request_of_a_batch_is_answered_even_if_one_is_broken() -> None:
    batch = [{"jsonrpc": "2.0", "id": n, "method": "echo", "params": [n]} for n in range(3)]
    responses = reply(orjson.dumps([*batch, 5]))
    assert [response.get("result") for response in responses[:3]] == [[0], [1], [2]]
    assert responses[3]["error"]["code"] == INVALID_REQUEST


def test_a_batch_is_bounded() -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "echo"}
    assert len(reply(orjson.dumps([request] * MAX_BATCH_REQUESTS))) == MAX_BATCH_REQUESTS
    assert code(orjson.dumps([request] * (MAX_BATCH_REQUESTS + 1))) == INVALID_REQUEST


@given(st.binary(max_size=200))
def test_any_bytes_get_a_json_rpc_answer_or_none(message: bytes) -> None:
    response = reply(message)
    assert response is None or isinstance(response, dict | list)


@given(JSON, JSON, JSON)
def test_any_json_gets_a_json_rpc_answer_or_none(identifier: Any, method: Any, params: Any) -> None:
    request = {"jsonrpc": "2.0", "id": identifier, "method": method, "params": params}
    assert reply(orjson.dumps(request))["jsonrpc"] == "2.0"
    reply(orjson.dumps(params))


@given(st.lists(JSON, max_size=2))
def test_reading_any_parameter_gives_its_type_or_an_invalid_params_error(values: list[Any]) -> None:
    params = Params(tuple(values))
    readers = (
        lambda: params.text(0),
        lambda: params.integer(0, 0, 100),
        lambda: params.boolean(0),
        lambda: params.hex_bytes(0),
        lambda: params.hex_list(0, 3),
        lambda: params.optional_hash(0),
    )
    for read in readers:
        try:
            read()
        except RpcError as error:
            assert error.code == INVALID_PARAMS  # noqa: PT017


@pytest.mark.parametrize("value", ["0x", "", "0xab", "AB"])
def test_hex_is_read_with_and_without_its_prefix(value: str) -> None:
    assert Params((value,)).hex_bytes(0) == bytes.fromhex(value.removeprefix("0x"))


@pytest.mark.parametrize("value", ["0xa", "xyz", "0x 1", "é", "0x0x12", 5, None])
def test_what_is_no_hex_is_invalid(value: Any) -> None:
    with pytest.raises(RpcError):
        Params((value,)).hex_bytes(0)


def test_true_is_no_integer() -> None:
    with pytest.raises(RpcError):
        Params((True,)).integer(0, 0, 10)


def test_a_hash_has_thirty_two_bytes() -> None:
    assert Params(("0x" + "11" * 32,)).optional_hash(0) == b"\x11" * 32
    assert Params((None,)).optional_hash(0) is None
    assert Params(()).optional_hash(0) is None
    with pytest.raises(RpcError):
        Params(("0x11",)).optional_hash(0)
