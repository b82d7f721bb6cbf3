"""The tiny engine behind the engine contract.

Chunks of `CHUNK_TOKENS` take a few milliseconds. They end at fixed places, so that the numbers do
not depend on how a prompt is cut. After an error the cache is cleared, so that a number that is not
finite cannot reach the next run.
"""

import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from rkllmd import __version__
from rkllmd.engine.constraint import Course
from rkllmd.engine.contract import OnProgress
from rkllmd.engine.measures import milliseconds, resident_bytes
from rkllmd.engine.stepwise import StepwiseEngine, Tokens, capabilities
from rkllmd.engine.tiny.gguf import Floats, damaged, open_gguf
from rkllmd.engine.tiny.sampler import Sampler
from rkllmd.engine.tiny.shape import ModelShape
from rkllmd.engine.tiny.state import identity, read_state, write_state
from rkllmd.engine.tiny.tokenizer import Tokenizer
from rkllmd.engine.tiny.transformer import TILE, Transformer
from rkllmd.engine.window import context_of
from rkllmd.errors import Code, EngineError
from rkllmd.runs import LoadSpec, ModelFacts, Sampling, cannot

CHUNK_TOKENS = 4 * TILE


def load(spec: LoadSpec, on_progress: OnProgress) -> "TinyEngine":
    """Load a GGUF file. How many threads compute was decided when this room was imported."""
    if spec.lora:
        raise EngineError(Code.LOAD_FAILED, "The tiny engine has no adapters (LoRA).")
    try:
        engine = TinyEngine(spec)
    except MemoryError as problem:
        raise EngineError(
            Code.OUT_OF_MEMORY, "There is not enough memory for the model and its context."
        ) from problem
    on_progress(1, 1)
    return engine


class TinyEngine(StepwiseEngine):
    """A loaded model."""

    def __init__(self, spec: LoadSpec) -> None:
        super().__init__()
        start = time.perf_counter()
        with open_gguf(Path(spec.model_path)) as file:
            self._tokenizer = Tokenizer(file)
            self._vocabulary = len(self._tokenizer)
            shape = ModelShape.read(file, self._vocabulary)
            self._window, notes = context_of(spec, shape.context)
            self._model = Transformer(file, shape, self._window)
            template = file.metadata.get("tokenizer.chat_template")
        if not isinstance(template, str | None):
            raise damaged("tokenizer.chat_template is not a text")
        self._identity = identity(self._model)
        self._hidden: Floats
        self.facts = ModelFacts(
            engine="tiny",
            engine_version=__version__,
            architecture="llama",
            context_tokens=self._window,
            memory_bytes=resident_bytes(),
            load_ms=milliseconds(start),
            capabilities=capabilities("tiny", cannot("the tiny engine has no adapters")),
            vocabulary=shape.vocabulary,
            parameters=self._model.parameters,
            chat_template=template,
            bos_text=self._tokenizer.text_of(self._tokenizer.bos),
            eos_text=self._tokenizer.text_of(self._tokenizer.eos),
            embedding_size=shape.width,
            notes=notes,
        )

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text in which special tokens may stand literally."""
        return self._tokenizer.encode(text)

    def close(self) -> None:
        """Give everything back: the weights and the cache."""
        self.reset()
        vars(self).pop("_model", None)

    def _cut(self, kept: int) -> None:
        del self._held[kept:]

    def _chunk_end(self, place: int) -> int:
        return place // CHUNK_TOKENS * CHUNK_TOKENS + CHUNK_TOKENS

    def _compute(self, tokens: Tokens, *, to_choose: bool = True) -> None:
        del to_choose  # What it takes to choose is computed when it is asked for.
        for _ in self._tiles(tokens):
            pass

    def _rows(self, tokens: Tokens) -> Floats:
        return np.concatenate([rows.copy() for rows in self._tiles(tokens)])

    def _tiles(self, tokens: Tokens) -> Iterator[Floats]:
        """Compute and hold tokens, tile by tile; each tile's last layer, until the next one."""
        done = 0
        while done < len(tokens):
            place = len(self._held)
            tile = tokens[done : done + TILE - place % TILE]
            rows = self._model.advance(place, np.asarray(tile, np.int32))
            self._hidden = rows[-1]
            self._held += tile
            done += len(tile)
            yield rows

    @contextmanager
    def _choosing(
        self, sampling: Sampling, course: Course, before: Tokens
    ) -> Iterator[Callable[[], int]]:
        sampler = Sampler(sampling)

        def choose() -> int:
            logits = self._model.logits(self._hidden)
            course.restrict(logits)
            return sampler.choose(logits, self._held)

        yield choose

    def _piece(self, token: int) -> bytes:
        return self._tokenizer.piece(token)

    def _ends(self, token: int) -> bool:
        return token in self._tokenizer.ends

    def _write_state(self, path: Path) -> None:
        write_state(path, self._model, self._identity, self._held)

    def _read_state(self, path: Path) -> Tokens:
        return array("i", read_state(path, self._model, self._identity, self._window))

    def _recover(self) -> None:
        super()._recover()
        self._model.forget()
