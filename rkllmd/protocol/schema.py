"""The JSON Schema (draft 2020-12) of requests and events, from the tables that the codec uses.

`whole` validates a request as it stands, and an event as `#/$defs/event`. A schema cannot say
everything: the codec also refuses what `strictjson` lists, ids of more than ID_BYTES_MAX, and
integers that are written with a fraction (`1.0`).
"""

from typing import Any

from rkllmd.protocol.codec import EVENTS, FINAL_EVENTS, OPERATIONS
from rkllmd.protocol.messages import NEEDS_ONE_OF, Done
from rkllmd.shape import schema

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def whole() -> dict[str, Any]:
    """All requests and all events."""
    requests = {f"request.{op}": _request(op) for op in OPERATIONS}
    events = {f"event.{name}": _event(name) for name in (*EVENTS, "ok")}
    return {
        "$schema": DIALECT,
        "$ref": "#/$defs/request",
        "$defs": {"request": _one_of(requests), "event": _one_of(events), **requests, **events},
    }


def of_operation(op: str) -> dict[str, Any]:
    """One operation's requests."""
    return {"$schema": DIALECT, **_request(op)}


def _one_of(parts: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in parts]}


def _request(op: str) -> dict[str, Any]:
    kind = OPERATIONS[op]
    result = schema(kind, null_is_absent=True)
    result["description"] = kind.__doc__
    result["properties"] = {"op": {"const": op}, "id": {}} | result["properties"]
    result["required"] = ["op", *result.get("required", ())]
    if kind in NEEDS_ONE_OF:
        result["anyOf"] = [_given(name, result) for name in NEEDS_ONE_OF[kind]]
    return result


def _given(name: str, request: dict[str, Any]) -> dict[str, Any]:
    default = request["properties"][name].get("default")
    absent = [None] if default is None else [None, default]
    return {"required": [name], "properties": {name: {"not": {"enum": absent}}}}


def _event(name: str) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    if name in EVENTS:
        result |= {"description": EVENTS[name].__doc__} | schema(EVENTS[name])
    result["properties"] = {"event": {"const": name}, "id": {}} | result["properties"]
    result["required"] = ["event", "id", *result["required"]]
    if name in FINAL_EVENTS:
        result["properties"]["final"] = {"const": True}
        result["required"].append("final")
    if name == Done.event:
        result["required"].remove("text")
        result["properties"]["truncated"] = {
            "const": True,
            "description": "The text would not fit; put the `delta` lines together.",
        }
    return result
