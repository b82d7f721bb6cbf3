"""A daemon on a small random model, and plain HTTP to it."""

import socket

import pytest

from tests.daemon.conftest import parrot  # noqa: F401 - a fixture
from tests.daemon.household import Household
from tests.http.wire import Http


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def served(home: Household, *settings: str) -> Household:
    """A household whose daemon serves HTTP on a port of its own."""
    home.port = free_port()
    home.http = Http(home.port)
    home.settings += [f"http.port={home.port}", *settings]
    return home


@pytest.fixture(scope="session")
def home(tmp_path_factory, parrot):  # noqa: F811 - the fixture
    """A daemon for tests that leave it as it was; a random model talks until it is stopped."""
    found = served(Household(tmp_path_factory.mktemp("http"), parrot), "sampling.max_tokens=32")
    found.start()
    yield found
    found.close()


@pytest.fixture
def own_home(tmp_path, parrot):  # noqa: F811 - the fixture
    """A daemon of the test's own, not started."""
    found = served(Household(tmp_path, parrot))
    yield found
    found.close()


@pytest.fixture
def http(home):
    """HTTP to the daemon that all tests share."""
    return home.http
