"""Holds every answer that a test gets against the OpenAPI document.

Status, content type and body have to be described, and a body has no member that is not; of a
stream that is so of each event and each line.
"""

import functools
import json
import re
from typing import Any
from urllib.parse import urlsplit

import jsonschema

from rkllmd.transport.http.openapi import document
from rkllmd.transport.http.table import routes

ENDS = "[DONE]"


async def no_metrics() -> str:
    """Nothing was counted."""
    return "rkllmd_ready 1\n"


DOCUMENT = document(routes(no_metrics))


def check(method: str, target: str, status: int, kind: str, body: bytes) -> None:
    """Fail where an answer is none that the document describes."""
    path = urlsplit(target).path
    operation = _operation(method, path)
    if operation is None:
        assert status == (405 if _known(path) else 404), (method, target, body)
        return
    described = operation["responses"].get(str(status))
    assert described, f"{method} {target} is not said to answer {status}: {body[:300]!r}"
    assert kind in described["content"], f"{method} {target} is not said to answer with {kind}"
    content = described["content"][kind]
    if kind == "application/json":
        _validate(content["schema"], json.loads(body))
        return
    problem = operation["responses"]["500"]["content"].get("application/json", {}).get("schema")
    for piece in pieces(kind, body):
        _validate({"anyOf": [content["x-itemSchema"], problem]}, piece)


def pieces(kind: str, body: bytes) -> list[Any]:
    """The events or lines of a stream; none of plain text."""
    text = body.decode()
    if kind == "application/x-ndjson":
        assert text.endswith("\n")
        return [json.loads(line) for line in text.splitlines()]
    if kind != "text/event-stream":
        return []
    *events, rest = text.split("\n\n")
    assert rest == ""
    assert all(event.startswith("data: ") and "\n" not in event for event in events)
    texts = [event.removeprefix("data: ") for event in events]
    assert ENDS not in texts[:-1]
    return [json.loads(one) for one in texts if one != ENDS]


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Paths with fewer parameters first."""
    paths = sorted(DOCUMENT["paths"].items(), key=lambda one: one[0].count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), item) for path, item in paths]


def _known(path: str) -> bool:
    return any(pattern.fullmatch(path) for pattern, _ in _patterns())


def _operation(method: str, path: str) -> dict[str, Any] | None:
    found = (item.get(method.lower()) for pattern, item in _patterns() if pattern.fullmatch(path))
    return next((one for one in found if one), None)


def _validate(schema: dict[str, Any], value: Any) -> None:
    _validator(json.dumps(schema)).validate(value)


@functools.cache
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    components = {"schemas": _closed(DOCUMENT["components"]["schemas"])}
    return jsonschema.Draft202012Validator({**json.loads(schema), "components": components})


def _closed(schema: Any) -> Any:
    """The same schema, and members that it does not name are not allowed."""
    match schema:
        case dict():
            inner = {name: _closed(one) for name, one in schema.items()}
            is_object = isinstance(schema.get("properties"), dict) and "type" in schema
            return inner | ({"additionalProperties": False} if is_object else {})
        case list():
            return [_closed(one) for one in schema]
        case _:
            return schema
