"""The OpenAPI document, and whether the daemon keeps to it whatever is sent.

schemathesis runs as the program it is; as a plugin it would change how every other test runs.
"""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest

from rkllmd.errors import Code
from rkllmd.transport.http.errors import LOOKS
from tests.http.contract import DOCUMENT, check

OPERATIONS = [(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item]
EXAMPLES = 6
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_schema_conformance,response_headers_conformance,negative_data_rejection"
)
ODD = [None, True, 0, -1, 1.5, 1e308, 2**70, "", "x", "\u00e4\U0001f600", [], {}, [None], {"a": 1}]


def test_no_code_is_missing_from_the_table():
    assert set(LOOKS) == set(Code)


def test_every_endpoint_has_its_texts_and_schemas():
    identities = [
        item["operationId"] for one in DOCUMENT["paths"].values() for item in one.values()
    ]
    assert len(set(identities)) == len(OPERATIONS)
    for path, methods in DOCUMENT["paths"].items():
        for method, item in methods.items():
            assert item["summary"].endswith("."), path
            assert ("requestBody" in item) == (method == "post"), path
            for content in item.get("requestBody", {}).get("content", {}).values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])


def test_statuses_are_those_that_an_endpoint_can_give():
    given = {
        (method, path): {int(status) for status in item["responses"]}
        for path, methods in DOCUMENT["paths"].items()
        for method, item in methods.items()
    }
    creating = {one for one, statuses in given.items() if 409 in statuses}
    assert creating == {
        ("post", "/v1/cache/{model}"), ("post", "/v1/cache/{model}/generate-binary"),
    }  # fmt: skip
    assert given["get", "/health"] == {200, 403, 500}
    assert given["get", "/v1/models"] == {200, 401, 403, 500, 503}
    assert all(
        {408, 413} <= statuses for (method, _), statuses in given.items() if method == "post"
    )
    assert not any({405, 408, 413} & given[one] for one in given if one[0] != "post")


CHUNK = {
    "id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": None}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "status", "kind", "body"),
    [
        ("/v1/chat/completions", 409, "application/json", {"error": {}}),
        ("/v1/chat/completions", 400, "application/json", {"error": {}}),
        ("/v1/chat/completions", 200, "application/x-ndjson", CHUNK),
        ("/v1/chat/completions", 200, "text/event-stream", CHUNK | {"id": 1}),
        ("/v1/chat/completions", 200, "text/event-stream", CHUNK | {"more": 1}),
        ("/api/pull", 200, "application/x-ndjson", {"status": "failed"}),
    ],
)
def test_an_answer_that_is_not_described_is_found(path, status, kind, body):
    text = json.dumps(body)
    sent = f"data: {text}\n\n" if kind == "text/event-stream" else f"{text}\n"
    with pytest.raises((AssertionError, jsonschema.ValidationError)):
        check("POST", path, status, kind, sent.encode())


def test_an_answer_that_is_described_passes():
    sent = f"data: {json.dumps(CHUNK)}\n\ndata: [DONE]\n\n"
    check("POST", "/v1/chat/completions", 200, "text/event-stream", sent.encode())


def value_for(schema: dict[str, Any], dice: random.Random) -> Any:
    """A value that a schema allows, mostly."""
    if dice.random() < 0.05:
        return dice.choice(ODD)
    if "anyOf" in schema:
        return value_for(dice.choice(schema["anyOf"]), dice)
    if "enum" in schema:
        return dice.choice(schema["enum"])
    kind = schema.get("type")
    match dice.choice(kind) if isinstance(kind, list) else kind:
        case "object":
            return object_for(schema, dice)
        case "array":
            count = max(dice.randint(0, 3), schema.get("minItems", 0))
            return [value_for(schema["items"], dice) for _ in range(count)]
        case "string":
            return dice.choice(["parrot", "system", "a", "hello there", "\u00fc" * 70, "", "../x"])
        case "integer" | "number":
            low, high = schema.get("minimum", -9), schema.get("maximum", 9)
            return dice.choice([low, high, low - 1, high + 1, dice.randint(0, 3)])
        case "boolean":
            return dice.random() < 0.5
        case "null":
            return None
    return dice.choice(ODD)


def object_for(schema: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """An object with what is required, and some of the rest."""
    required = schema.get("required", ())
    return {
        name: value_for(inner, dice)
        for name, inner in schema.get("properties", {}).items()
        if name in required or dice.random() < 0.2
    }


def sent_bodies(operation: dict[str, Any], dice: random.Random) -> list[bytes | None]:
    """Bodies for an operation, most of them good."""
    if "requestBody" not in operation:
        return [None]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    made = [json.dumps(object_for(schema, dice)).encode() for _ in range(EXAMPLES)]
    return [*made, b"", b"[]", b"{", b'{"a": NaN}', b"\xff"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_whatever_is_sent_the_answer_is_documented_and_none_is_our_fault(home, method, path):
    operation = DOCUMENT["paths"][path][method.lower()]
    dice = random.Random(f"{method} {path}")
    for body in sent_bodies(operation, dice):
        names = {"model": ["parrot", "none", "\u00e4/.."], "name": ["none", "..", "a b"]}
        target = path
        for name, choices in names.items():
            target = target.replace(f"{{{name}}}", quote(dice.choice(choices), safe=""))
        answer = home.http.call(method, target, body)
        assert answer.status < 500, (target, body, answer)


@pytest.mark.timeout(400)
def test_schemathesis_finds_no_5xx_and_no_undocumented_answer(home, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run",
         f"http://127.0.0.1:{home.port}/openapi.json", "--phases", "fuzzing", "--max-examples", "2",
         "--generation-deterministic", "--continue-on-failure", "--no-color", "--checks", CHECKS],
        cwd=tmp_path, capture_output=True, text=True, timeout=380, check=False,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "default_model", "COLUMNS": "200",
             "PYTHONPATH": str(Path(__file__).parent / "schemathesis_hooks")},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    served = home.http.get("/openapi.json").json["paths"]
    assert {path: set(methods) for path, methods in served.items()} == {
        path: set(methods) for path, methods in DOCUMENT["paths"].items()
    }
    assert f"Tested: {len(OPERATIONS) - 1}\n" in done.stdout, "all but the document itself"


@pytest.mark.parametrize("path", list(DOCUMENT["paths"]))
def test_a_wrong_method_is_told_the_right_ones(http, path):
    target = path.replace("{model}", "none").replace("{name}", "none")
    answer = http.call("PATCH", target)
    assert answer.status == 405
    own = {method.upper() for method in DOCUMENT["paths"][path]}
    assert set(answer.headers["allow"].split(", ")) == own
