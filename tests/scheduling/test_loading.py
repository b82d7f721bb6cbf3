"""What a scheduler knows of a model once it is loaded, with a real worker."""

import asyncio

import pytest

from rkllmd.config.settings import Config
from rkllmd.promptcache.findings import Findings
from rkllmd.registry.models import read_model
from rkllmd.scheduling.scheduler import Scheduler
from tools.random_model import Sizes, write_random_model


@pytest.fixture
def entry(tmp_path):
    folder = tmp_path / "parrot"
    folder.mkdir()
    write_random_model(folder / "parrot.gguf", Sizes(context=64), seed=1)
    return read_model(folder)


async def test_the_time_of_loading_is_no_time_without_use(entry):
    loop, heard = asyncio.get_running_loop(), {}

    def hear(name):
        state = scheduler.lanes[name].supervisor.state if name in scheduler.lanes else None
        heard[state] = loop.time()

    def nobody(*_):
        pass

    scheduler = Scheduler(Config(), lambda: None, hear, nobody, nobody, Findings())
    try:
        lane = await scheduler.lane(entry)
        assert lane.last_used >= heard["loading"]
    finally:
        await scheduler.close()
