"""How clients reach the operations: `lines` (Unix socket), `http` and `wyoming`.

`visit` is the life of one connection of `lines` and `wyoming`, and `server` accepts them and
leaves; `listen` makes or inherits sockets; `outbox` bounds what waits for a client; `hangup`
notices that one is gone.
"""
