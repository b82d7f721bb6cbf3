"""Noticing that files changed: `observer` listens and wakes, `folders` says where it
has to listen, `settle` says when a change is over.

Neither says what changed: who was woken looks for himself. So a lost event costs time until the
next look, not correctness.
"""
