"""The HTTP face: OpenAI's shapes, the cache endpoints, Ollama's shapes, and `/ask`.

It has no logic of its own. A body becomes a request of the socket protocol (`protocol.messages`),
the same operations answer it, and what comes back is written in the shape that the client knows:

    wire      connections: who is there, who is gone, who takes too long to say what is wanted
    server    one request's frame: route, access, limits, errors, log; starting and leaving
    routes    which path is served by which function, from which body, with which answers and
              errors; `table` has them all, `openapi` describes them
    work      the operations that are open, and how they end when the server leaves
    exchange  one request while an operation serves it
    bodies    bytes become a typed body       streams   events become lines, with backpressure
    answers   what a model writes, told whole or piece by piece
    errors    the one table from codes to statuses

and one file for each family of endpoints: `openai`, `caches`, `ollama`, `ask`, `admin`. The bodies
and the answers of the two large ones have files of their own.
"""
