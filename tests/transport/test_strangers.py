"""Several clients at once: nobody ever sees a line that is another's."""

import asyncio
import json
import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

steps = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["chat", "chat", "hold", "cancel", "garbage", "leave", "pause"]),
    ),
    max_size=30,
)


class Story:
    """One client's requests, and what it may hear."""

    def __init__(self, client, name):
        self.client = client
        self.name = name
        self.asked = {}
        self.held = []
        self.garbage = 0

    def act(self, action):
        number = f"{self.name}-{len(self.asked)}"
        match action:
            case "chat":
                self.asked[number] = "done"
                self.client.say("chat", id=number, text=number)
            case "hold":
                self.asked[number] = "done"
                self.held.append(number)
                self.client.say("complete", id=number, prompt="silent")
            case "cancel" if self.held:
                self.asked[number] = "ok"
                self.client.say("cancel", id=number, target=self.held.pop())
            case "garbage":
                self.garbage += 1
                self.client.write(b"{]\n")

    async def check(self):
        while self.held:
            self.act("cancel")
        self.client.writer.write_eof()
        texts, finals, refused = {}, {}, 0
        for line in await self.client.rest():
            if line["id"] is None:
                refused += 1
                assert line["code"] == "bad_json"
                continue
            assert line["id"] in self.asked, "another client's line"
            assert line["id"] not in finals, "a line after the final one"
            if line.get("final"):
                finals[line["id"]] = line
            else:
                texts[line["id"]] = texts.get(line["id"], "") + line["text"]
        assert {identity: line["event"] for identity, line in finals.items()} == self.asked
        assert refused == self.garbage
        for identity, text in texts.items():
            assert text == finals[identity]["text"] == identity


@given(steps)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_clients_hear_their_own_lines_only(house_in, story):
    async def play():
        async with house_in() as house:
            stories = [Story(await house.client(), f"client{number}") for number in range(4)]
            for number, action in story:
                if action == "pause":
                    await asyncio.sleep(0)
                elif action == "leave":
                    stories[number].client.writer.transport.abort()
                    stories[number] = Story(await house.client(), f"again{len(house.clients)}")
                else:
                    stories[number].act(action)
            await asyncio.gather(*(one.check() for one in stories))

    asyncio.run(play())


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ("socat -t60 - UNIX-CONNECT:$S | jq -r 'select(.event==\"done\").text'", "hello\n"),
        ("nc -NU $S | jq -rj --unbuffered 'select(.event==\"delta\").text'", "hello"),
    ],
)
async def test_the_tools_that_everybody_has_are_clients(house, line, heard):
    process = await asyncio.create_subprocess_shell(
        f"""echo '{{"op":"chat","text":"hello"}}' | {line}""",
        stdout=subprocess.PIPE,
        env={"S": str(house.path), "PATH": "/usr/bin:/bin"},
    )
    out, _ = await process.communicate()
    assert out.decode() == heard


async def test_fire_and_forget_through_nc(house):
    process = await asyncio.create_subprocess_shell(
        f"""echo '{{"op":"cancel","session":"kitchen"}}' | nc -NU {house.path}""",
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert json.loads(out)["event"] == "ok"
