"""What this room's tests do with an engine, and a program that does it in a process of its own.

python -m tests.engine_rkllm.stories LIBRARY MODEL STORY [COUNT]
"""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rkllmd.engine.contract import Engine
from rkllmd.engine.rkllm import load
from rkllmd.runs import GREEDY, Limits, LoadSpec, Media, MediaKind, Prompt, RunStats

SYSTEM = "<|im_start|>system\nYou are a lamp in a kitchen where it rains seven days.<|im_end|>\n"


WIDTH = 16
"""Of the double's hidden states."""
SENSES = {
    "image_start": "<|vision_start|>", "image_end": "<|vision_end|>",
    "image_content": "<|image_pad|>", "audio_start": "<|audio_bos|>",
    "audio_end": "<|audio_eos|>", "audio_content": "<|AUDIO|>",
}  # fmt: skip
"""What model.yaml says of a model that sees and hears."""


def npy(array: Any) -> bytes:
    """A `.npy` file's content."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def scene(number: int, rows: int = 5, width: int = WIDTH, kind: MediaKind = "image") -> Media:
    """An image, or a sound, that is another one for each number."""
    values = np.random.default_rng(number).normal(size=(rows, width)).astype("<f4")
    return Media.of_npy(kind, npy(values))


def look(
    engine: Engine, *parts: Media | str, tokens: int = 24, system: bool = True
) -> tuple[str, RunStats]:
    """What it says to a user's turn of words, images and sounds."""
    text = "".join(part if isinstance(part, str) else part.mark for part in parts)
    known = {part.mark: part for part in parts if isinstance(part, Media)}
    prompt = Prompt.of_text(turn(text) if system else text).with_media(known)
    pieces: list[bytes] = []
    stats = engine.run(prompt, GREEDY, Limits(tokens), pieces.append, never, no_progress)
    return b"".join(pieces).decode(errors="replace"), stats


def turn(text: str) -> str:
    """A whole prompt with one user turn."""
    return f"{SYSTEM}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def no_progress(done: int, total: int) -> None:
    """The runtime does not say."""


def never() -> bool:
    """Go on."""
    return False


def opened(library: Path, model: Path, **more: Any) -> Engine:
    """An engine on a library."""
    options = {"library": str(library), **more.pop("options", {})}
    return load(LoadSpec(str(model), options=options, **more), no_progress)


def answer(
    engine: Engine, prompt: str, tokens: int = 24, should_stop: Any = never
) -> tuple[str, RunStats]:
    """What it says to a prompt."""
    pieces: list[bytes] = []
    stats = engine.run(
        Prompt.of_text(prompt), GREEDY, Limits(tokens), pieces.append, should_stop, no_progress
    )
    return b"".join(pieces).decode(errors="replace"), stats


def save(engine: Engine, path: Path, prompt: str = SYSTEM) -> Any:
    """Save the state after a prompt."""
    return engine.save_state(path, Prompt.of_text(prompt), never, no_progress)


def resident_kib(pid: int | None) -> int:
    """A process's resident memory; `statm` would be cheaper, but is some hundred pages off."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))


def story_answer(engine: Engine, folder: Path, _count: int) -> None:
    answer(engine, turn("hello"))


def story_save(engine: Engine, folder: Path, _count: int) -> None:
    save(engine, folder / "story.state")


def story_load(engine: Engine, folder: Path, _count: int) -> None:
    engine.load_state(folder / "story.state")


def story_everything(engine: Engine, folder: Path, _count: int) -> None:
    """Each call of the contract, twice."""
    state = folder / "everything.state"
    for _ in range(2):
        answer(engine, turn("hello"))
        answer(engine, turn("hello"), 1, iter([False, True, True]).__next__)
        save(engine, state)
        engine.load_state(state)
        answer(engine, turn("is the door shut"))
        engine.embed("a lamp in the kitchen", "mean", normalize=True)
        look(engine, scene(1), "what is this")
        if engine.facts.capabilities.audio:
            look(engine, scene(1), "what is this", scene(2, kind="audio"), scene(3, kind="audio"))
        if engine.facts.capabilities.logits:
            engine.logits(Prompt.of_text("a lamp"))
        engine.release_state()
        engine.reset()


def story_runs(engine: Engine, folder: Path, count: int) -> None:
    """Many short runs; says how many blocks of Python's memory they took for good."""
    for number in range(count):
        answer(engine, turn(f"warm up {number % 7}"), 2)
    blocks = sys.getallocatedblocks()
    for number in range(count):
        answer(engine, turn(f"number {number % 7}"), 2)
    sys.stdout.write(f"grew {sys.getallocatedblocks() - blocks} blocks\n")


def main() -> None:
    library, model, story, *rest = sys.argv[1:]
    engine = opened(Path(library), Path(model), options=SENSES)
    globals()[f"story_{story}"](engine, Path(model).parent, int(rest[0]) if rest else 0)
    engine.close()
    sys.stdout.write("the end\n")


if __name__ == "__main__":
    main()
