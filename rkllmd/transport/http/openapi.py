"""The OpenAPI document, from the table of routes and the types of bodies and answers. Pure.

The statuses of an endpoint are those of the errors that its route names, and of those that its kind
has: any can be refused to a web page, or to who shows no key, or meet a mistake of ours; a body can
be wrong, too long or too slow.

What a stream's pieces look like, an event's data or a line, stands in `x-itemSchema`, which is
`itemSchema` from OpenAPI 3.2 on.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, get_origin

from rkllmd import __version__
from rkllmd.errors import Code
from rkllmd.shape import schema, type_schema
from rkllmd.transport.http.ask import AskBody
from rkllmd.transport.http.errors import LOOKS
from rkllmd.transport.http.exchange import JSON, TEXT
from rkllmd.transport.http.routes import Route

Json = dict[str, Any]

OF_ALL = frozenset({Code.PERMISSION_DENIED, Code.INTERNAL})
OF_BODIES = frozenset({Code.BAD_JSON, Code.BAD_REQUEST, Code.LINE_TOO_LONG, Code.SLOW_CLIENT})
NO_KEY = 401


class Problem(TypedDict):
    """What was wrong."""

    message: str
    type: str
    code: str
    param: str | None


class Error(TypedDict):
    """An error."""

    error: Problem


class OllamaError(TypedDict):
    """An error as Ollama writes it."""

    error: str


def document(routes: Sequence[Route]) -> Json:
    """The whole document."""
    paths: dict[str, Json] = {}
    schemas: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "rkllmd", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"key": []}],
    }


def statuses(route: Route) -> list[int]:
    """What a route's errors look like, in numbers."""
    codes = OF_ALL | route.errors | (frozenset() if route.body is None else OF_BODIES)
    found = {LOOKS[code].status for code in codes}
    return sorted(found if route.open_to_all else found | {NO_KEY})


def _operation(route: Route, schemas: dict[str, Json]) -> Json:
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
        "responses": _responses(route, schemas),
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


def _responses(route: Route, schemas: dict[str, Json]) -> Json:
    good = _answer(route.answer, schemas)
    if route.stream is not None:
        kind, piece = route.stream
        good |= {kind: {"schema": {"type": "string"}, "x-itemSchema": _named(piece, schemas)}}
    responses: Json = {str(route.status): {"description": "Done.", "content": good}}
    problem = _answer(_problem(route), schemas)
    for status in statuses(route):
        responses[str(status)] = {"description": "The error says why.", "content": problem}
    if route.path == "/ready":
        either = {"anyOf": [good[JSON]["schema"], problem[JSON]["schema"]]}
        responses["503"] = {"description": "Not yet.", "content": {JSON: {"schema": either}}}
    return responses


def _answer(shape: Any, schemas: dict[str, Json]) -> Json:
    if shape is str:
        return {TEXT: {"schema": {"type": "string"}}}
    return {JSON: {"schema": _named(shape, schemas)}}


def _named(shape: Any, schemas: dict[str, Json]) -> Json:
    """A reference to a shape, which is kept by its name."""
    if get_origin(shape) is Mapping:
        return type_schema(shape)
    schemas[shape.__name__] = type_schema(shape)
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _problem(route: Route) -> Any:
    if route.path == "/ask":
        return str
    return OllamaError if route.path.startswith("/api/") else Error
