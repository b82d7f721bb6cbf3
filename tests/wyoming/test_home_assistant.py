"""What Home Assistant's Wyoming integration does, done again.

One connection for `describe`, one for each utterance, left as soon as `handled` was read.
"""

import asyncio

import pytest
from wyoming.asr import Transcript
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.handle import Handled, NotHandled
from wyoming.info import Describe, Info

from tests.daemon.household import Household
from tests.fakes.rkllm.built import NEWEST, built, make_model
from tests.http.conftest import free_port
from tests.wyoming.conftest import ask

HOUR_US = 3_600_000_000


async def load_info(port):
    """What it asks when the service is set up; it would wait for a second, three times."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Describe().event())
        while not Info.is_type((event := await client.read_event()).type):
            pass
    return Info.from_event(event)


async def process(port, text, conversation_id):
    """One utterance. The rest of the answer is not read."""
    context = {
        "conversation_id": conversation_id,
        "device_id": "5f3e",
        "satellite_id": "assist_satellite.kitchen",
    }
    async with AsyncTcpClient("127.0.0.1", port) as client:
        await client.write_event(Transcript(text, context=context, language="en").event())
        while True:
            event = await client.read_event()
            assert event is not None, "connection lost"
            assert not Error.is_type(event.type)
            if Handled.is_type(event.type):
                return Handled.from_event(event).text
            if NotHandled.is_type(event.type):
                return NotHandled.from_event(event)


async def test_set_up_and_a_conversation(home):
    port = home.wyoming_port
    info = await load_info(port)
    assert not info.intent, "it would be preferred over a handle program"
    service = next(program for program in info.handle if program.installed)
    languages = {tag for model in service.models if model.installed for tag in model.languages}
    assert languages == {"en"}
    conversation_id = "01JBARGEIN0000000000000000"
    for number in range(10):
        assert isinstance(await process(port, f"question {number}", conversation_id), str)
    shown = await ask(home, "session.show", session=conversation_id)
    assert shown["turns"] == 10
    log = await asyncio.to_thread(home.log.read_text)
    assert "mistake of ours" not in log
    assert "Traceback" not in log


async def test_several_satellites_at_once(home):
    texts = [f"question of satellite {number}" for number in range(6)]
    work = (process(home.wyoming_port, text, text) for text in texts)
    assert all(isinstance(text, str) for text in await asyncio.gather(*work))


async def test_what_fails_is_spoken(home):
    told = await process(home.wyoming_port, "cat " * 9000, "01JTOOLONG")
    assert told.text == "I did not understand that."


@pytest.fixture
def loading(tmp_path):
    """A daemon whose model does not come to an end of loading."""
    home = Household(tmp_path, make_model(tmp_path / "made.rkllm", load_us=HOUR_US))
    (home.models / "parrot" / "model.gguf").rename(home.models / "parrot" / "model.rkllm")
    home.wyoming_port = free_port()
    home.settings += [f"wyoming.port={home.wyoming_port}", f"engine.library={built(NEWEST)}"]
    home.start(wait=False)
    home.hear("STATUS=loading")
    yield home
    home.close()


async def test_set_up_while_a_model_loads(loading):
    def is_loading():
        (model,) = loading.ask("model.list")["models"]
        return model["state"] in {"starting", "loading"}

    await asyncio.to_thread(loading.until, is_loading, "the loading of the model")
    info = await load_info(loading.wyoming_port)
    assert [program.name for program in info.handle] == ["parrot"]
    assert await asyncio.to_thread(is_loading)
