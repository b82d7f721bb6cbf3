"""The llama engine keeps the contract."""

import pytest

from tests.engine.contract_suite import ContractSuite
from tools.random_model import write_random_model


@pytest.fixture
def engine_name():
    return "llama"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.gguf"
    write_random_model(path)
    return path


class TestLlama(ContractSuite):
    """All of it."""
