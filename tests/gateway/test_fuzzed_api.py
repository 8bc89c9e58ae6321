"""Requests that schemathesis makes from /openapi.json, right and wrong ones.

Never a 5xx, and every answer is one that the document promises."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.openapi import openapi_document
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_miner import MODEL
from tests.gateway.test_api_page import gateway_of_the_page

CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 60
"""Of each kind and operation: few enough for every run of the tests."""

SCHEMA = schemathesis.openapi.from_dict(openapi_document(MODEL))
OPERATIONS = {
    f"{operation.ok().method.upper()} {operation.ok().path}": operation.ok()
    for operation in SCHEMA.get_all_operations()
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway in a thread of its own: schemathesis waits for its answers."""
    folder, loop, ready = tmp_path_factory.mktemp("fuzzed"), asyncio.new_event_loop(), threading.Event()
    done, found = asyncio.Event(), list[RunningGateway]()

    async def serve() -> None:
        async with gateway_of_the_page(folder) as gateway:
            await gateway.parts.tokens.load()
            found.append(gateway)
            ready.set()
            await done.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(60)
    yield found[0]
    loop.call_soon_threadsafe(done.set)
    thread.join()
    loop.close()


@pytest.fixture
def gateway_url(fuzzed: RunningGateway) -> str:
    return fuzzed.url


def test_an_answer_that_the_document_does_not_promise_is_found(gateway_url: str) -> None:
    document = openapi_document(MODEL)
    answer = document["paths"]["/health"]["get"]["responses"]["200"]["content"]["application/json"]
    answer["schema"] = {"type": "object", "required": ["never_there"]}
    case = schemathesis.openapi.from_dict(document)["/health"]["GET"].Case()
    with pytest.raises(FailureGroup, match="never_there"):
        case.validate_response(case.call(base_url=gateway_url, timeout=30), checks=CHECKS)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("name", OPERATIONS)
def test_no_request_brings_a_server_error_or_an_undocumented_answer(
    fuzzed: RunningGateway, gateway_url: str, name: str, mode: GenerationMode
) -> None:
    operation = OPERATIONS[name]
    if mode is GenerationMode.NEGATIVE and not list(operation.body):
        pytest.skip("there is nothing that could be wrong")

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )
    def ask(case: Any) -> None:
        fuzzed.clock.advance(1)  # so that no reader of the dataset is too fast
        response = case.call(base_url=gateway_url, timeout=30)
        case.validate_response(response, checks=CHECKS)

    ask()
