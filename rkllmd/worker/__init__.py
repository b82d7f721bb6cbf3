"""The child process that an engine lives in, and the parent's side of it.

`frames` is the written protocol between the two. In the process run `child`, which answers calls,
and `answer`, which makes text of an engine's bytes. On the parent's side `process` starts one and
sees it end, `output` keeps what it prints, `ends` says how it ended, `channel` makes calls to it,
`watchdog` notices silence, `restarts` decides whether and when a dead one is replaced, and
`supervisor` keeps one model's worker alive.
"""
