"""The OpenAPI document, from the table of routes and the dataclasses that read the bodies. Pure."""

from collections.abc import Sequence
from typing import Any

from rkllmd import __version__
from rkllmd.shape import schema
from rkllmd.transport.http.ask import AskBody
from rkllmd.transport.http.errors import LOOKS
from rkllmd.transport.http.exchange import JSON, TEXT
from rkllmd.transport.http.routes import Route

Json = dict[str, Any]

ERROR: Json = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "code", "param"],
        }
    },
    "required": ["error"],
}
OLLAMA_ERROR: Json = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
STATUSES = sorted({401, 405} | {look.status for look in LOOKS.values()})


def document(routes: Sequence[Route]) -> Json:
    """The whole document."""
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rkllmd", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"error": ERROR, "ollama_error": OLLAMA_ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def _operation(route: Route) -> Json:
    parameters = [
        {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
        for part in route.path.split("/")
        if part.startswith("{")
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in (route.query or {}).items()
    ]
    operation: Json = {
        "operationId": _identity(route),
        "summary": route.summary,
        "parameters": parameters,
        "responses": _responses(route),
    }
    if route.body is not None:
        operation["requestBody"] = {"required": True, "content": _contents(route.body)}
    return operation


def _identity(route: Route) -> str:
    words = [part.strip("{}").replace(".", "_") for part in route.path.split("/") if part]
    return "_".join([route.method.lower(), *words])


def _contents(body: type) -> Json:
    if body is bytes:
        return {
            TEXT: {"schema": {"type": "string"}},
            JSON: {"schema": schema(AskBody, null_is_absent=True)},
        }
    return {JSON: {"schema": schema(body, null_is_absent=True)}}


def _responses(route: Route) -> Json:
    good = {kind: {"schema": {"type": "object"} if kind == JSON else {}} for kind in route.answers}
    responses: Json = {str(route.status): {"description": "Done.", "content": good}}
    if route.path == "/ready":
        responses["503"] = {"description": "Not yet.", "content": good}
    for status in STATUSES:
        responses.setdefault(
            str(status), {"description": "The error says why.", "content": _problem(route)}
        )
    return responses


def _problem(route: Route) -> Json:
    if route.answers == (TEXT,) and route.path == "/ask":
        return {TEXT: {"schema": {"type": "string"}}}
    name = "ollama_error" if route.path.startswith("/api/") else "error"
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
