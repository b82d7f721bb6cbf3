"""What a client may have the daemon read, and what of it is told from the outside."""

import asyncio
import base64
import os

import pytest

from rkllmd.errors import Code, RequestError
from rkllmd.operations import media
from rkllmd.operations.call import Caller
from rkllmd.operations.media import take_media, without_media
from rkllmd.protocol.messages import EmbeddingPart, Message, TextPart
from rkllmd.runs import MARK, Media
from rkllmd.scheduling.sessions import content_text

NPY = b"\x93NUMPY and so on"
MINE = os.getuid()
CALLER = Caller("socket", "somebody", uid=MINE)
STRANGER = Caller("socket", "stranger", uid=MINE + 1)


def taken(*parts, caller=CALLER, role="user"):
    return asyncio.run(take_media([Message(role, parts)], caller))


def refusal(*parts, **more):
    with pytest.raises(RequestError) as caught:
        taken(*parts, **more)
    assert caught.value.details["member"] == "messages"
    return caught.value


def sent(content):
    return EmbeddingPart("image_embedding", base64.b64encode(content).decode())


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(NPY)
    path.chmod(0o600)
    return path


def at(path):
    return EmbeddingPart("audio_embedding", path=str(path))


def test_a_mark_stands_for_each(file):
    found = taken(TextPart("what is "), sent(NPY), TextPart(" and "), at(file))
    text = content_text(found.messages[0])
    image, sound = Media.of_npy("image", NPY), Media.of_npy("audio", NPY)
    assert text == f"what is {image.mark} and {sound.mark}"
    assert found.known == {image.mark: image, sound.mark: sound}
    assert [one[0] for one in MARK.finditer(text)] == [image.mark, sound.mark]


def test_a_session_remembers_that_there_was_something():
    found = taken(TextPart("what is "), sent(NPY))
    (kept,) = without_media(found.messages)
    assert content_text(kept) == "what is (image)"
    plain = [Message("user", "hello"), Message("assistant", None)]
    assert without_media(plain) == plain


def test_messages_of_text_are_left_alone():
    messages = [Message("user", "hello"), Message("user", (TextPart("a"), TextPart("b")))]
    assert asyncio.run(take_media(messages, CALLER)).messages == messages


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (EmbeddingPart("image_embedding"), "`data` or `path`"),
        (EmbeddingPart("image_embedding", "AAAA", "/x"), "`data` or `path`"),
        (EmbeddingPart("image_embedding", "?"), "no base64"),
        (EmbeddingPart("image_embedding", "ü"), "no base64"),
        (EmbeddingPart("image_embedding", "AAA"), "no base64"),
        (EmbeddingPart("image_embedding", ""), "0 bytes that are no .npy file"),
        (sent(b"\x80\x04K\x01."), "5 bytes that are no .npy file"),
    ],
)
def test_what_is_no_embedding_is_named(part, words):
    error = refusal(part)
    assert error.code is Code.BAD_REQUEST
    assert words in error.message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"), (b"\xff\xd8\xff\xe0", "a JPEG picture"),
        (b"RIFF....WEBP", "a WebP picture or a WAV sound"), (b"OggS", "an Ogg sound"),
    ],
)  # fmt: skip
def test_real_pictures_are_refused_with_what_is_allowed(content, name):
    error = refusal(sent(content))
    assert error.code is Code.UNSUPPORTED
    assert f"found {name}: the vision encoder is not part of the daemon" in error.message
    assert ".npy" in error.message


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_only_a_user_shows_something(role):
    assert "in messages of the user" in refusal(sent(NPY), role=role).message


def test_too_much_is_refused(monkeypatch, file):
    monkeypatch.setattr(media, "BYTES_MAX", len(NPY) * 2)
    taken(sent(NPY), at(file))
    for last in (sent(NPY), at(file)):
        assert "bytes of embeddings" in refusal(sent(NPY), at(file), last).message


def test_a_path_is_for_who_could_read_it(file):
    assert taken(at(file)).known
    unreadable = refusal(at(file), caller=STRANGER).message
    file.chmod(0o604)
    assert taken(at(file), caller=STRANGER).known
    gone = refusal(at(file.with_name("gone")), caller=STRANGER).message
    assert gone == unreadable.replace("x.npy", "gone"), "nobody learns which files there are"


@pytest.mark.parametrize("transport", ["http", "wyoming"])
def test_a_path_is_only_for_the_socket(file, transport):
    error = refusal(at(file), caller=Caller(transport, "somebody", uid=MINE))
    assert "only on the Unix socket" in error.message
    assert "only on the Unix socket" in refusal(at(file), caller=Caller("socket", "x")).message


def test_a_path_leads_to_a_regular_file(tmp_path, file):
    (tmp_path / "link").symlink_to(file)
    os.mkfifo(tmp_path / "fifo")
    for path in (
        tmp_path / "link", tmp_path / "fifo", tmp_path, "/dev/zero", "/dev/null",
        "x.npy", os.path.relpath(file), "/", "", "/" + "x" * 4000, f"{file}\0",
    ):  # fmt: skip
        error = refusal(at(path))
        assert error.code is Code.BAD_REQUEST
        assert "a regular file (no link)" in error.message
