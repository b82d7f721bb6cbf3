"""One loaded model's handle, and everything that the library may still look at.

The library keeps pointers: to the callback for the handle's life, to an input and its strings for
a run's. What a handle's life needs is in `Handle._alive`; what a run's needs is local to `run`,
which returns only when the run is over. It is not known whether the library copies RKLLMCallback,
so it is kept as well.

The library calls back on the thread that called rkllm_run (measured on 1.3.1, reported for 1.2.3),
so rkllm_run returns when the last event is through. Where FINISH has not come by then, it is waited
for.

The callback copies, tells its listener and returns. It never raises: what a listener raises aborts
the run and is raised by `run`.
"""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rkllmd.native.functions import CallFailed
from rkllmd.native.layouts import Layout
from rkllmd.native.library import Library
from rkllmd.native.rkllm import CallbackReturn, CallState, InferMode, InputType
from rkllmd.runs import Sampling

SPARE_BYTES = 256
"""Zeros behind every struct: a release that has more members than we know finds nothing there."""

PLACES = {"image": "<image>", "audio": "<audio>"}
"""Where in a prompt images and sounds stand. The guide names the first; that sounds have a place of
the same kind is inferred."""
VIDEO_PLACE = "<video>"

FINISH_SECONDS = 10.0
"""How long FINISH may stay away after rkllm_run returned."""

TOP_K_ALL = 1000
"""Stands for "all", since what the library makes of 0 is not known."""


@dataclass(frozen=True, slots=True)
class Init:
    """What a handle is made with."""

    model_path: Path
    context_tokens: int
    new_tokens: int
    sampling: Sampling
    base_domain_id: int = 0
    embed_flash: bool = False
    cpus: tuple[int, ...] = ()
    """Empty leaves the choice to the library, which takes the big cores."""
    image_tags: "Tags | None" = None
    """Given here before 1.3.0, and with each run since then."""


@dataclass(frozen=True, slots=True)
class Tags:
    """What the library puts into the prompt's tokens for an image or a sound."""

    start: str
    end: str
    content: str
    """Once for each row."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Images, or sounds, for a run: the library reads `count` x `rows` x the model's width values,
    and does not check that they are there."""

    values: bytes
    """float32, one image behind the other."""
    count: int
    rows: int
    """Of each, which are as many tokens."""
    tags: Tags
    width_pixels: int = 0
    height_pixels: int = 0
    """What the encoder was given; for models whose positions have two dimensions."""


@dataclass(frozen=True, slots=True)
class Request:
    """One run. Before 1.3.0 the library takes neither `new_tokens` nor `sampling`."""

    prompt: str
    """With images or sounds, it has a PLACE for each."""
    mode: InferMode
    new_tokens: int
    sampling: Sampling
    lora: str | None = None
    save_to: Path | None = None
    images: Embeddings | None = None
    """One, before 1.2.1b1."""
    sounds: Embeddings | None = None
    """From 1.3.1 on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Hidden states or logits: float32 values, of `count` tokens, `width` for each.

    Of logits only the last token's are copied: each takes as much as a vocabulary has.
    """

    values: bytes
    count: int
    width: int


@dataclass(frozen=True, slots=True)
class Perf:
    """The library's own measurements of a run."""

    prefilled_tokens: int
    prefill_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Event:
    """What the library said, copied."""

    state: CallState
    text: bytes = b""
    token: int = -1
    rows: Rows | None = None
    perf: Perf | None = None


Listener = Callable[[Event], None]


class Handle:
    """A loaded model. Used by one thread; `abort` may be called by any."""

    def __init__(self, library: Library, init: Init) -> None:
        self._library = library
        self._call = library.call
        self._types = library.types
        self._pointer = ctypes.c_void_p()
        self._listener: Listener | None = None
        self._number = 0
        self._failure: BaseException | None = None
        self._finished = threading.Event()
        function = library.result_callback(self._on_result)
        param = self._param(init)
        callback = self._callback(function)
        self._alive: list[Any] = [function, callback, param]
        self._call.rkllm_init(ctypes.byref(self._pointer), ctypes.byref(param), callback)
        if self._pointer.value is None:
            # 1.1.x sometimes reports a failed load as success (issue 156).
            raise CallFailed("rkllm_init", 0)

    def close(self) -> None:
        """Give the model back; a second time does nothing."""
        if self._pointer.value is not None:
            pointer, self._pointer = self._pointer, ctypes.c_void_p()
            self._call.rkllm_destroy(pointer)
        self._alive.clear()

    def run(self, request: Request, listener: Listener) -> None:
        """Run until FINISH; raises what the listener raised, or CallFailed."""
        self._number += 1
        self._listener, self._failure = listener, None
        self._finished.clear()
        given, infer = self._input(request), self._infer(request)
        try:
            # The number lets a late event of an older run be told from those of this one.
            self._call.rkllm_run(
                self._pointer, ctypes.byref(given), ctypes.byref(infer), self._number
            )
            if not self._finished.is_set():
                self._wait_for_finish()
        finally:
            self._listener = None
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        """Ask the run to end after the step in flight; prefill is not interrupted (issue 400)."""
        self._call.rkllm_abort(self._pointer)

    def set_empty_template(self) -> None:
        """Have prompts taken as they are; clears the state. 1.1.x has no template to begin with."""
        if self._library.has("rkllm_set_chat_template"):
            self._call.rkllm_set_chat_template(self._pointer, b"", b"", b"")

    def load_lora(self, name: str, path: Path, scale: float) -> None:
        """Load an adapter for the handle's life; there is no unloading."""
        adapter = self._zeroed("RKLLMLoraAdapter")
        adapter.lora_adapter_path = os.fsencode(path)
        adapter.lora_adapter_name = name.encode()
        adapter.scale = scale
        self._alive.append(adapter)
        self._call.rkllm_load_lora(self._pointer, ctypes.byref(adapter))

    def load_cache(self, path: Path) -> None:
        """Hold what a file holds; the one loaded before has to be released."""
        self._call.rkllm_load_prompt_cache(self._pointer, os.fsencode(path))

    def release_cache(self) -> None:
        """Let go of a loaded file."""
        self._call.rkllm_release_prompt_cache(self._pointer)

    def clear(self) -> None:
        """Hold nothing. 1.1.x keeps nothing of a run, and cannot be asked."""
        if self._library.has("rkllm_clear_kv_cache"):
            # No positions: they are valid only in a run that is paused.
            positions = (None, None) if self._library.layout >= Layout.V1_2_1 else ()
            self._call.rkllm_clear_kv_cache(self._pointer, 0, *positions)

    def held_tokens(self) -> int | None:
        """How many tokens are held, None before 1.2.1."""
        if not self._library.has("rkllm_get_kv_cache_size"):
            return None
        sizes = (ctypes.c_int * 8)()  # one for each batch, of which there is one
        self._call.rkllm_get_kv_cache_size(self._pointer, sizes)
        return sizes[0]

    def _wait_for_finish(self) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        self._finished.wait(FINISH_SECONDS)
        while self._call.rkllm_is_running(self._pointer):
            if time.monotonic() > deadline:
                raise CallFailed("rkllm_run (without FINISH)", 0)
            time.sleep(0.001)

    def _on_result(self, result: Any, userdata: int | None, state: int) -> int:
        try:
            return self._tell(result, userdata, state)
        except BaseException as error:  # noqa: BLE001 - nothing may leave a callback
            self._failure = self._failure or error
            self.abort()
            return CallbackReturn.GO_ON

    def _tell(self, result: Any, userdata: int | None, state: int) -> int:
        if self._listener is None or userdata not in {None, self._number}:
            return CallbackReturn.GO_ON
        event = self._copied(result, CallState(state))
        if self._failure is None:
            self._listener(event)
        if event.state in {CallState.FINISH, CallState.ERROR}:
            self._finished.set()
        if event.rows is not None and self._library.layout >= Layout.V1_3_0:
            return CallbackReturn.RELEASE_OUTPUT
        return CallbackReturn.GO_ON

    def _copied(self, result: Any, state: CallState) -> Event:
        """The library frees text, rows and the result itself when the callback returns."""
        if not result:
            return Event(state)
        content = result.contents
        rows = _rows(content.last_hidden_layer, "hidden_states", "embd_size")
        if rows is None and self._library.layout >= Layout.V1_2_0:
            rows = _rows(content.logits, "logits", "vocab_size", last_only=True)
        perf = None
        if state is CallState.FINISH and self._library.layout >= Layout.V1_2_1:
            measured = content.perf
            perf = Perf(
                measured.prefill_tokens, measured.prefill_time_ms, measured.generate_time_ms
            )
        return Event(state, content.text or b"", content.token_id, rows, perf)

    def _zeroed(self, struct: str) -> Any:
        type_ = self._types[struct]
        return type_.from_buffer(bytearray(ctypes.sizeof(type_) + SPARE_BYTES))

    def _callback(self, function: Any) -> Any:
        if self._library.layout < Layout.V1_3_0:
            return function
        callback = self._zeroed("RKLLMCallback")
        callback.result_callback = ctypes.cast(function, ctypes.c_void_p)
        return callback

    def _param(self, init: Init) -> Any:
        defaults = self._library.default_param()
        param = self._zeroed("RKLLMParam")
        ctypes.memmove(ctypes.byref(param), ctypes.byref(defaults), ctypes.sizeof(param))
        param.model_path = os.fsencode(init.model_path)
        param.max_context_len = init.context_tokens
        param.max_new_tokens = init.new_tokens
        param.skip_special_token = True
        param.is_async = False
        _fill_sampling(param, init.sampling)
        if init.image_tags is not None and self._library.layout < Layout.V1_3_0:
            _fill_tags(param, "img", init.image_tags)
        extend = param.extend_param
        extend.base_domain_id = init.base_domain_id
        if self._library.layout >= Layout.V1_2_0:
            extend.embed_flash = init.embed_flash
            if init.cpus:
                extend.enabled_cpus_num = len(set(init.cpus))
                extend.enabled_cpus_mask = sum(1 << cpu for cpu in set(init.cpus))
        return param

    def _input(self, request: Request) -> Any:
        given = self._zeroed("RKLLMInput")
        if self._library.layout >= Layout.V1_2_1:
            given.role = b"user"
        if request.images is None and request.sounds is None:
            given.input_type = InputType.PROMPT
            given.prompt_input = request.prompt.encode()
            return given
        given.input_type = InputType.MULTIMODAL
        both = given.multimodal_input
        both.prompt = request.prompt.encode()
        if request.images is not None:
            self._fill_images(both, request.images)
        if request.sounds is not None:
            _fill_sounds(both.audio, request.sounds)
        return given

    def _fill_images(self, both: Any, images: Embeddings) -> None:
        layout = self._library.layout
        place = both.image if layout >= Layout.V1_3_0 else both
        place.image_embed = _floats(images.values)
        place.n_image_tokens = images.rows
        if layout >= Layout.V1_2_1B1:
            place.n_image = images.count
            place.image_width, place.image_height = images.width_pixels, images.height_pixels
        if layout >= Layout.V1_3_0:
            _fill_tags(place, "image", images.tags)

    def _infer(self, request: Request) -> Any:
        infer = self._zeroed("RKLLMInferParam")
        infer.mode = request.mode
        if request.lora is not None:
            lora = self._zeroed("RKLLMLoraParam")
            lora.lora_adapter_name = request.lora.encode()
            infer.lora_params = ctypes.pointer(lora)
        if request.save_to is not None:
            cache = self._zeroed("RKLLMPromptCacheParam")
            cache.save_prompt_cache = 1
            cache.prompt_cache_path = os.fsencode(request.save_to)
            infer.prompt_cache_params = ctypes.pointer(cache)
        if self._library.layout >= Layout.V1_3_0:
            sampling = self._zeroed("RKLLMSamplingParam")
            sampling.mirostat_tau, sampling.mirostat_eta = 5.0, 0.1  # not used without mirostat
            _fill_sampling(sampling, request.sampling)
            infer.sampling_params = ctypes.pointer(sampling)
            infer.max_new_tokens = request.new_tokens
        return infer


def _fill_sounds(place: Any, sounds: Embeddings) -> None:
    place.audio_embed = _floats(sounds.values)
    place.n_audio_tokens, place.n_audio = sounds.rows, sounds.count
    _fill_tags(place, "audio", sounds.tags)


def _fill_tags(struct: Any, prefix: str, tags: Tags) -> None:
    for part in ("start", "end", "content"):
        setattr(struct, f"{prefix}_{part}", getattr(tags, part).encode())


def _floats(values: bytes) -> Any:
    """A copy at an address of its own, which lives as long as what it is put into."""
    copy = (ctypes.c_float * (len(values) // 4)).from_buffer_copy(values)
    return ctypes.cast(copy, ctypes.POINTER(ctypes.c_float))


def _fill_sampling(struct: Any, sampling: Sampling) -> None:
    # Greedy by top_k: what a temperature of 0 does is documented, but not used by others.
    greedy = sampling.temperature == 0
    struct.top_k = 1 if greedy else sampling.top_k or TOP_K_ALL
    struct.top_p = sampling.top_p
    struct.temperature = 1.0 if greedy else sampling.temperature
    struct.repeat_penalty = sampling.repeat_penalty
    struct.frequency_penalty = sampling.frequency_penalty
    struct.presence_penalty = sampling.presence_penalty
    struct.mirostat = 0


def _rows(found: Any, values: str, width: str, *, last_only: bool = False) -> Rows | None:
    first, count, columns = getattr(found, values), found.num_tokens, getattr(found, width)
    if not first or count <= 0 or columns <= 0:
        return None
    row_bytes = 4 * columns
    address = ctypes.cast(first, ctypes.c_void_p).value or 0
    if last_only:
        return Rows(ctypes.string_at(address + row_bytes * (count - 1), row_bytes), count, columns)
    return Rows(ctypes.string_at(address, row_bytes * count), count, columns)
