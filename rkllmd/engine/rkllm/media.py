"""Images and sounds beside a prompt's text: read and checked before the library sees anything.

The library reads `count` x `rows` x `width` numbers and does not ask whether they are there: with a
wrong size it ends the process, or reads what lies behind. So all of this is checked first:

1. Each is a `.npy` file: little-endian float32, as many bytes as its shape says, no Python objects.
2. Its shape is (rows, width); ones before that are left out. A row takes the place of one token.
3. `width` is that of the model's hidden states, which the model is asked for once. An encoder with
   several outputs (Qwen3-VL has four) has them side by side in each row: `image_outputs`.
4. Every number is finite.
5. All images of a prompt are of one size, and so are all sounds.
6. The text does not spell what the library would take for another image.
"""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rkllmd.errors import Code, RequestError
from rkllmd.native.handle import PLACES, VIDEO_PLACE, Embeddings, Tags
from rkllmd.native.layouts import Layout
from rkllmd.runs import MARK, UNKNOWN, Capability, Media, MediaKind, Prompt, cannot

_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


@dataclass(frozen=True, slots=True)
class Senses:
    """What `model.yaml` says of a model's images and sounds."""

    tags: Mapping[MediaKind, Tags]
    """Of the kinds that have a content tag."""
    image_outputs: int = 1
    image_width: int = 0
    image_height: int = 0

    @classmethod
    def of_options(cls, options: Mapping[str, Any]) -> "Senses":
        """From what the engine was loaded with."""
        kinds: tuple[MediaKind, ...] = ("image", "audio")
        tags = {
            kind: Tags(*(options.get(f"{kind}_{part}", "") for part in ("start", "end", "content")))
            for kind in kinds
            if options.get(f"{kind}_content")
        }
        return cls(
            tags,
            options.get("image_outputs", 1),
            options.get("image_width", 0),
            options.get("image_height", 0),
        )

    def capability(self, kind: MediaKind, layout: Layout, version: str) -> Capability:
        """Whether the model may be given this; that it can make something of it, a run shows."""
        if kind == "audio" and layout < Layout.V1_3_1:
            return cannot(f"runtime {version} takes no sounds, 1.3.1 does")
        if kind not in self.tags:
            return cannot(f"model.yaml has no {kind}_content, the tag that stands for its rows")
        return UNKNOWN


@dataclass(frozen=True, slots=True)
class Given:
    """What a run gets: the text with a place for each image and sound, and their numbers."""

    text: str
    images: Embeddings | None
    sounds: Embeddings | None

    @property
    def rows(self) -> int:
        """The tokens that are no text."""
        both = (self.images, self.sounds)
        return sum(one.count * one.rows for one in both if one is not None)


def take(prompt: Prompt, senses: Senses, width: int, layout: Layout) -> Given:
    """A prompt with media as the library takes it; a `RequestError` where anything is wrong."""
    images = _gathered(prompt.media, "image", senses, width * senses.image_outputs)
    sounds = _gathered(prompt.media, "audio", senses, width)
    if images is not None and images.count > 1 and layout < Layout.V1_2_1B1:
        raise _refused(f"{images.count} images", "one, before runtime 1.2.1")
    return Given(_placed(prompt, senses), images, sounds)


def read_npy(npy: bytes) -> NDArray[np.float32]:
    """The rows in a `.npy` file; nothing is allocated for what its header only promises."""
    file = io.BytesIO(npy)
    try:
        read_header = _HEADER_READERS[np.lib.format.read_magic(file)]
        shape, in_columns, dtype = read_header(file)
    except Exception as error:  # whatever the parser makes of a stranger's bytes
        raise _refused("what is no .npy file", "a .npy file of float32") from error
    if dtype != np.dtype("<f4"):
        raise _refused(f"a .npy file of {dtype}", "float32")
    if len(shape) < 2 or min(shape) < 1 or math.prod(shape[:-2]) != 1:
        raise _refused(f"the shape {shape}", "(rows, width)")
    there, needed = len(npy) - file.tell(), math.prod(shape) * dtype.itemsize
    if there != needed:
        raise _refused(f"{there} bytes for the shape {shape}", str(needed))
    flat = np.frombuffer(npy, dtype, offset=file.tell())
    rows = flat.reshape(shape, order="F" if in_columns else "C").reshape(shape[-2:])
    if not np.isfinite(rows).all():
        raise _refused("numbers that are not finite", "finite ones")
    return rows


def _gathered(
    media: Sequence[Media], kind: MediaKind, senses: Senses, width: int
) -> Embeddings | None:
    found = [read_npy(one.npy) for one in media if one.kind == kind]
    if not found:
        return None
    for rows in found:
        if rows.shape[1] != width:
            raise _refused(f"{kind} rows of {rows.shape[1]} numbers", f"{width}, as the model has")
    sizes = sorted({len(rows) for rows in found})
    if len(sizes) > 1:
        raise _refused(f"{kind}s of {sizes} rows", "one size in a request")
    return Embeddings(
        values=b"".join(rows.tobytes() for rows in found),
        count=len(found),
        rows=sizes[0],
        tags=senses.tags[kind],
        width_pixels=senses.image_width,
        height_pixels=senses.image_height,
    )


def _placed(prompt: Prompt, senses: Senses) -> str:
    text = prompt.text
    if [found[0] for found in MARK.finditer(text)] != [one.mark for one in prompt.media]:
        raise _refused("marks in the text for other media than were given", "one for each")
    words = MARK.sub("", text)
    for spelled in (
        *PLACES.values(),
        VIDEO_PLACE,
        *(tags.content for tags in senses.tags.values()),
    ):
        if spelled in words:
            raise _refused(
                f"{spelled!r} in the text of a request with media", "text without it, since the"
                " runtime would take it for an image or a sound",
            )  # fmt: skip
    return MARK.sub(lambda mark: PLACES[mark[1]], text)


def _refused(found: str, allowed: str) -> RequestError:
    sentence = f"messages: found {found}, allowed: {allowed}"
    return RequestError(Code.BAD_REQUEST, sentence, member="messages", found=found, allowed=allowed)
