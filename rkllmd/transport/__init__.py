"""How clients reach the operations: `lines` (Unix socket), `http` and `wyoming`.

`server` accepts and leaves, for `lines` and `wyoming`; `client` is one connection of `lines`;
`listen` makes or inherits sockets; `outbox` bounds what waits for a client; `hangup` notices that
one is gone.
"""
