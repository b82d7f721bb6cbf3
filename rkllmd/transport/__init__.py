"""How clients reach the operations: `lines` (Unix socket) and `http`.

`lines` accepts, `client` is one connection; `listen` makes or inherits sockets; `outbox` bounds
what waits for a client; `hangup` notices that one is gone.
"""
