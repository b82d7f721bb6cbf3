"""Daemons on a small random model."""

import pytest

from tests.daemon.household import ROOT, Household
from tools.random_model import Sizes, write_random_model


@pytest.fixture(scope="session")
def parrot(tmp_path_factory):
    """A model file: random weights, whose words depend on everything before them."""
    path = tmp_path_factory.mktemp("models") / "parrot.gguf"
    write_random_model(path, Sizes(context=2048), seed=1)
    return path


@pytest.fixture(scope="session")
def other_parrot(tmp_path_factory):
    """Another model of the same shape."""
    path = tmp_path_factory.mktemp("models") / "other.gguf"
    write_random_model(path, Sizes(context=2048), seed=2)
    return path


@pytest.fixture
def household(tmp_path, parrot):
    """A daemon that has not been started."""
    home = Household(tmp_path, parrot)
    yield home
    home.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory, parrot):
    """A daemon for tests that change nothing in it, under Python's own checks."""
    home = Household(tmp_path_factory.mktemp("home"), parrot)
    home.start(PYTHONDEVMODE="1")
    yield home
    home.close()


@pytest.fixture(scope="module")
def assistant(tmp_path_factory):
    """A daemon on the bundled model and its own system prompt."""
    model = ROOT / "models" / "tiny-assistant" / "tiny-assistant.gguf"
    home = Household(tmp_path_factory.mktemp("home"), model)
    home.write_prompt("system", (ROOT / "etc" / "config" / "system.txt").read_text())
    home.start()
    yield home
    home.close()
