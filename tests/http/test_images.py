"""Images through HTTP: OpenAI's parts with a data: URL, to a model on the simulated NPU runtime."""

import base64

import pytest

from tests.daemon.test_npu import TAGS, npu_household, sees, shown
from tests.engine_rkllm.stories import scene
from tests.fakes.rkllm.built import NEWEST
from tests.http.conftest import served

IMAGE = base64.b64encode(scene(1).npy).decode()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    found = served(sees(npu_household(tmp_path_factory.mktemp("home"), NEWEST), TAGS))
    found.start()
    yield found
    found.close()


def asked(home, part):
    content = [part, {"type": "text", "text": "what is this"}]
    body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 12}
    return home.http.post("/v1/chat/completions", body)


def by_url(url):
    return {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}


def test_an_image_is_the_same_by_every_way(home):
    embedding = {"type": "image_embedding", "data": IMAGE}
    expected = shown(home, embedding, "what is this")["text"]
    for part in (
        by_url(f"data:application/octet-stream;base64,{IMAGE}"),
        by_url(f"data:;base64,{IMAGE}"),
        embedding,
    ):
        answer = asked(home, part)
        assert answer.status == 200, answer.body
        assert answer.json["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize(
    ("part", "code", "words"),
    [
        (by_url("data:image/png;base64,iVBORw0KGgo="), "unsupported", "the vision encoder is not"),
        (by_url("data:;base64,iVBORw0KGgo="), "unsupported", "the vision encoder is not part"),
        (by_url("https://example.org/cat.jpg"), "unsupported", "nothing is fetched"),
        (by_url("data:text/plain,hello"), "unsupported", "send a data: URL in base64"),
        (by_url("data:;base64,AAAA"), "bad_request", "3 bytes that are no .npy file"),
        ({"type": "image_embedding", "path": "/x.npy"}, "bad_request", "only on the Unix socket"),
        ({"type": "input_audio", "input_audio": {}}, "bad_request", "'audio_embedding'"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_can(home, part, code, words):
    answer = asked(home, part)
    assert answer.status == 400
    assert answer.json["error"]["code"] == code
    assert words in answer.json["error"]["message"]


def test_ollamas_images_are_refused(home):
    message = {"role": "user", "content": "what is this", "images": [IMAGE]}
    answer = home.http.post("/api/chat", {"messages": [message]})
    assert answer.status == 400
    assert "the vision encoder is not part of the daemon" in answer.json["error"]
