"""Models without a daemon: a worker, a cache folder, and answers that block until they are there.

    with rkllmd.local.open("models/tiny-assistant", cache="cache") as model:
        answer = model.generate("Hello", system=LONG_TEXT, cache="butler", temperature=0)

The state after the system prompt is kept in the cache folder under the name: built and proved when
it is not there or the text is another one, loaded by the next process, held between two calls. It
is the daemon's own store, with the same files and the same proofs; several processes may use one
folder, but not one that a daemon uses. Without a `system`, `cache` names a prompt that was stored
before; where there is none the whole prompt is stored, for the next time that it is asked.

The model lives in a worker of its own; a loop in a thread of its own speaks to it. Calls from
several threads are answered one after the other.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from rkllmd.config.settings import Config
from rkllmd.errors import RkllmdError
from rkllmd.ids import CacheName, ModelName
from rkllmd.promptcache.learn import Learn
from rkllmd.promptcache.root import check_name
from rkllmd.promptcache.store import Store
from rkllmd.protocol.messages import Message
from rkllmd.reconcile.caches import Caches, Lesson, ingredients
from rkllmd.reconcile.reconciler import Reconciler
from rkllmd.registry.loaded import LoadedModel, load_spec
from rkllmd.registry.models import ModelEntry, Registry, read_model
from rkllmd.runs import Limits, Prompt, Sampling
from rkllmd.scheduling.answers import Answer as Run
from rkllmd.scheduling.answers import Job, Listener, answer
from rkllmd.scheduling.background import BackgroundWorkers
from rkllmd.scheduling.lane import Lane, Wish
from rkllmd.scheduling.scheduler import NOBODY, OURSELVES, Scheduler
from rkllmd.scheduling.stop import Stop
from rkllmd.scheduling.turns import Priority

T = TypeVar("T")
NAME_IN_OWN_FOLDER = "prompt"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what the engine counted."""

    text: str
    reason: str
    """`stop` when the model was done, `length` when `max_tokens` were."""
    prompt_tokens: int
    cached_tokens: int
    """Of these, those that were not computed again."""
    generated_tokens: int
    cache_hit: bool
    """Whether the named state was really reused."""
    warnings: tuple[str, ...] = ()


def generate(
    model: str | Path, prompt: str, *, cache: str | Path | None = None, **members: Any
) -> Answer:
    """One answer of a model that is loaded for it; the members are those of `Model.generate`.

    `cache` is a name in the user's cache folder, or a path: then of a cache folder of its own.
    """
    folder, name = None, cache
    if isinstance(cache, Path) or "/" in (cache or ""):
        folder, name = cache, NAME_IN_OWN_FOLDER
    with open(model, cache=folder) as opened:
        return opened.generate(prompt, cache=None if name is None else str(name), **members)


def open(  # noqa: A001 - it reads as `local.open`
    model: str | Path, *, cache: str | Path | None = None, config: Config | None = None
) -> "Model":
    """Load the model of a folder; states are kept in the folder `cache`, or the user's own one."""
    return Model(read_model(Path(model)), Path(cache or user_cache()), config or Config())


def user_cache() -> Path:
    """Where states are kept that nobody named a folder for."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rkllmd"


class Model:
    """A loaded model. To be closed, best by `with`."""

    def __init__(self, entry: ModelEntry, cache: Path, config: Config) -> None:
        self._entry = entry
        self._sampling = load_spec(entry, config).sampling
        self._one_at_a_time = threading.Lock()
        with ExitStack() as opening:
            self._store = opening.enter_context(Store(cache.absolute()))
            self._loop = asyncio.new_event_loop()
            opening.callback(self._loop.close)
            thread = threading.Thread(target=self._loop.run_forever, name=f"model {entry.name}")
            thread.start()
            opening.callback(thread.join)
            opening.callback(lambda: self._loop.call_soon_threadsafe(self._loop.stop))
            opening.callback(lambda: self._wait(self._end()))
            findings = self._store.findings
            self._scheduler = Scheduler(
                config, lambda: None, self._on_change, _nobody, _nobody, findings
            )
            self._caches = Caches(replace(config.cache, learn_after=0), lambda: None, findings)
            self._reconciler = Reconciler(
                self._store, self._caches, BackgroundWorkers(self._scheduler), config.cache,
                lambda *_: None,
            )  # fmt: skip
            self._reconciler.registry = Registry({entry.name: entry}, ())
            self._reconciler.complete = False  # other models in the folder are not ours
            self._wait(self._begin())
            self._closing = opening.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the worker go; twice does no harm."""
        self._closing.close()

    def generate(
        self,
        prompt: str,
        *,
        system: str | None = None,
        cache: str | None = None,
        max_tokens: int = 256,
        temperature: float | None = None,
        seed: int | None = None,
        on_text: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Answer a user's words, behind a system prompt; `on_text` hears them as they come."""
        if cache is not None:
            check_name(cache)
        name = CacheName(cache) if cache is not None else None
        sampling = replace(self._sampling, seed=seed)
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        with self._one_at_a_time:
            return self._wait(
                self._generate(prompt, system, name, sampling, Limits(max_tokens), on_text)
            )

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _begin(self) -> None:
        await self._scheduler.lane(self._entry)
        await self._reconciler.reconcile()

    async def _end(self) -> None:
        await self._scheduler.close()
        await self._loop.shutdown_default_executor()

    def _on_change(self, name: ModelName) -> None:
        lane = self._scheduler.lanes.get(name)
        if lane is not None and lane.model is not None:
            self._caches.models[name] = lane.model

    async def _generate(
        self, words: str, system: str | None, cache: CacheName | None, sampling: Sampling,
        limits: Limits, on_text: Callable[[str], None],
    ) -> Answer:  # fmt: skip
        lane = await self._scheduler.lane(self._entry)
        assert lane.model is not None, "a lane is handed out once its model is loaded"
        warnings: list[str] = []
        if cache is not None and system is not None:
            await self._keep_system(cache, system, warnings)
        elif cache is not None:
            system = self._caches.prompt_text(self._entry.name, cache)
        text = _render(lane.model, system, words)
        prompt = await lane.prompt(text)
        if cache is not None and system is None:
            await self._keep_whole(lane.model, cache, text, prompt, warnings)
        run, said = await self._run(lane, prompt, cache, sampling, limits, on_text)
        stats = run.stats
        assert stats is not None, "nobody stops this run"
        return Answer(
            said, str(run.reason), stats.prompt_tokens, stats.cached_tokens,
            stats.generated_tokens, run.cache_hit, (*warnings, *run.warnings),
        )  # fmt: skip

    async def _keep_system(self, cache: CacheName, system: str, warnings: list[str]) -> None:
        """Have the state after a system prompt stored under a name."""
        name = self._entry.name
        wanted = self._caches.wanted(name).get(cache)
        if wanted is None or wanted.text != system:
            await self._reconciler.in_turn(
                lambda store: store.put_prompt(
                    name, cache, system, time.time(), origin="local", overwrite=True
                )
            )
        await self._build(cache, warnings)

    async def _keep_whole(
        self, model: LoadedModel, cache: CacheName, text: str, prompt: Prompt, warnings: list[str]
    ) -> None:
        """Have the state after a whole prompt stored under a name."""
        if self._caches.find(model, prompt, cache) is None:
            learn = Learn(self._entry.name, cache, text, prompt, "local")
            self._caches.lessons[self._entry.name, cache] = Lesson(learn, ingredients(model, text))
            await self._build(cache, warnings)

    async def _build(self, cache: CacheName, warnings: list[str]) -> None:
        key = self._entry.name, cache
        failed: RkllmdError | None = (await self._reconciler.reconcile()).failed.get(key)
        if failed is not None:
            warnings.append(f"the cache {cache!r} was not built: {failed.message}")

    async def _run(
        self, lane: Lane, prompt: Prompt, cache: CacheName | None, sampling: Sampling,
        limits: Limits, on_text: Callable[[str], None],
    ) -> tuple[Run, str]:  # fmt: skip
        said: list[str] = []

        async def prepare(model: LoadedModel) -> Job:
            def find() -> Any:
                return None if cache is None else self._caches.find(model, prompt, cache)

            return Job(prompt, sampling, limits, find)

        async def hear(piece: str) -> None:
            said.append(piece)
            on_text(piece)

        async def pass_over(_done: int, _total: int) -> None:
            return

        wish = Wish(Priority.NORMAL, OURSELVES, NOBODY, Stop())

        def forget() -> bool:
            return not said  # what was given to `on_text` cannot be taken back

        listener = Listener(hear, pass_over, forget)
        run = await answer(lane, wish, prepare, listener, Run())
        for broken, reason in run.broken.items():
            self._caches.found_broken(self._entry.name, broken, reason)
        for deadly in run.deadly:
            self._caches.killed_worker(self._entry.name, deadly)
        if run.cache is not None:
            self._caches.used(self._entry.name, run.cache)
        return run, "".join(said)


def _render(model: LoadedModel, system: str | None, words: str) -> str:
    head = [] if system is None else [Message("system", system)]
    return model.template.render([*head, Message("user", words)], (), False).text


def _nobody(*_: object) -> None:
    """Who would hear of queues and stopped runs: one caller asks here, and knows."""
