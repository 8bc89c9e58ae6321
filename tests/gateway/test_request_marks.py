import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.request_marks import MAX_BAGGAGE_CHARS, MAX_CLIENT_ID_CHARS, UNMARKED, RequestMarks, read_marks

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def marks(*headers: tuple[str, str]) -> RequestMarks:
    return read_marks([(name.encode(), value.encode("latin-1")) for name, value in headers])


def passed_on(*headers: tuple[str, str]) -> dict[str, str]:
    trace = marks(*headers).trace
    return dict(trace.headers()) if trace else {}


def test_a_valid_trace_is_passed_on_as_it_is() -> None:
    headers = {"traceparent": PARENT, "tracestate": "a=1,b=2", "baggage": "user=x;p=1"}
    assert passed_on(*headers.items()) == headers


def test_several_tracestate_headers_are_one_list() -> None:
    found = passed_on(("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2"))
    assert found["tracestate"] == "a=1,b=2"


def test_a_later_version_is_passed_on_in_the_form_of_version_0() -> None:
    assert passed_on(("traceparent", f"01-{TRACE}-{SPAN}-01-more"))["traceparent"] == PARENT


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx-evil: 1",
    ],
)
def test_an_invalid_traceparent_is_left_out_with_its_tracestate(parent: str) -> None:
    assert passed_on(("traceparent", parent), ("tracestate", "a=1")) == {}


def test_two_traceparents_are_none() -> None:
    assert passed_on(("traceparent", PARENT), ("traceparent", PARENT)) == {}


@pytest.mark.parametrize("state", ["a" * 513, ",".join(["a=1"] * 33), "a=\x01", "a=é", ""])
def test_a_tracestate_that_is_not_allowed_is_left_out_alone(state: str) -> None:
    assert passed_on(("traceparent", PARENT), ("tracestate", state)) == {"traceparent": PARENT}


def test_baggage_needs_no_trace_and_is_bounded() -> None:
    assert passed_on(("baggage", "a=1")) == {"baggage": "a=1"}
    assert passed_on(("baggage", "a=" + "1" * MAX_BAGGAGE_CHARS)) == {}
    assert passed_on(("baggage", ",".join(["a=1"] * 65))) == {}


def test_a_clients_own_id_is_cut_and_cleaned() -> None:
    assert marks(("x-request-id", "job-1")).client_id == "job-1"
    both = marks(("x-request-id", "first"), ("x-client-request-id", "second"))
    assert both.client_id == "second"
    assert marks(("x-request-id", 'a\nb c"d<é')).client_id == "a_b_c_d__"
    assert marks(("x-request-id", "")).client_id is None
    assert len(marks(("x-request-id", "a" * 1000)).client_id or "") == MAX_CLIENT_ID_CHARS


def test_a_request_without_such_headers_is_unmarked() -> None:
    assert marks(("host", "x"), ("user-agent", "y")) is UNMARKED


NAMES = st.sampled_from(["traceparent", "tracestate", "baggage", "x-request-id"])
VALUES = st.text(st.characters(max_codepoint=255), max_size=600)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_whatever_a_stranger_sends_what_is_passed_on_is_printable_and_bounded(
    headers: list[tuple[str, str]],
) -> None:
    found = passed_on(*headers)
    assert all(value.isascii() and value.isprintable() for value in found.values())
    assert sum(map(len, found.values())) <= 55 + 512 + MAX_BAGGAGE_CHARS
