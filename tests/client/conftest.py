"""Daemons to be talked to."""

from tests.daemon.conftest import assistant, household, parrot, running

__all__ = ["assistant", "household", "parrot", "running"]
