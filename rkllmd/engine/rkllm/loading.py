"""Loads a model into the runtime, and says what is known of it then."""

import os
import time
from pathlib import Path

from rkllmd.engine.contract import OnProgress
from rkllmd.engine.rkllm.engine import ADAPTER, RkllmEngine
from rkllmd.engine.rkllm.media import Senses
from rkllmd.engine.rkllm.messages import context_limit, driver_version, load_error
from rkllmd.errors import Code, EngineError
from rkllmd.native.functions import CallFailed
from rkllmd.native.handle import Handle, Init
from rkllmd.native.layouts import Layout
from rkllmd.native.library import Library, open_library
from rkllmd.native.listening import Listening
from rkllmd.native.quirks import warnings_of
from rkllmd.runs import UNKNOWN, YES, Capabilities, LoadSpec, ModelFacts, cannot

CONTEXT_TOKENS_DEFAULT = 4096


def load(spec: LoadSpec, _on_progress: OnProgress) -> "RkllmEngine":
    """Load a model. The runtime says nothing of its progress."""
    library = open_library(spec.options.get("library", ""), spec.options.get("layout", ""))
    if library.layout < Layout.V1_2_1:
        os.environ.setdefault("RKLLM_LOG_LEVEL", "1")
    began = time.monotonic()
    known = spec.options.get("context_limit", CONTEXT_TOKENS_DEFAULT)
    context = spec.context_tokens or min(CONTEXT_TOKENS_DEFAULT, known)
    try:
        handle, log = _opened(library, spec, context)
    except EngineError as error:
        limit = error.details.get("context_limit")
        if spec.context_tokens is not None or limit is None or limit >= context:
            raise
        context = limit
        handle, log = _opened(library, spec, context)
    senses = Senses.of_options(spec.options)
    facts = ModelFacts(
        engine="rkllm",
        engine_version=library.version,
        architecture="rkllm",
        context_tokens=context,
        memory_bytes=_resident_bytes(),
        load_ms=(time.monotonic() - began) * 1000,
        capabilities=_capabilities(library, senses),
        context_limit=context_limit(log),
        notes=_notes(library, spec, log),
        warnings=warnings_of(library.version),
    )
    return RkllmEngine(library.layout, handle, facts, senses, has_lora=bool(spec.lora))


def _opened(library: Library, spec: LoadSpec, context: int) -> tuple[Handle, str]:
    model = Path(spec.model_path)
    if not model.is_file():
        raise EngineError(Code.LOAD_FAILED, f"There is no model file {model}.")
    if len(spec.lora) > 1:
        raise EngineError(
            Code.LOAD_FAILED, "The NPU runtime applies one adapter at a time; model.yaml names"
            f" {len(spec.lora)}.",
        )  # fmt: skip
    init = Init(
        model_path=model,
        context_tokens=context,
        new_tokens=context,
        sampling=spec.sampling,
        base_domain_id=spec.options.get("base_domain_id", 0),
        embed_flash=spec.options.get("embed_flash", False),
        cpus=tuple(spec.options.get("cpus", ())),
        image_tags=Senses.of_options(spec.options).tags.get("image"),
    )
    log = Listening()
    try:
        with log:
            handle = Handle(library, init)
    except CallFailed as error:
        raise load_error(log.text) from error
    try:
        for adapter in spec.lora:
            handle.load_lora(ADAPTER, Path(adapter.path), adapter.scale)
        handle.set_empty_template()
    except CallFailed as error:
        handle.close()
        raise EngineError(Code.LOAD_FAILED, f"The model was not set up: {error.message}") from error
    return handle, log.text


def _capabilities(library: Library, senses: Senses) -> Capabilities:
    return Capabilities(
        state_files=UNKNOWN,
        tokenizer=cannot("the NPU runtime has no tokenizer to call"),
        embeddings=YES,
        logits=YES
        if library.layout >= Layout.V1_2_0
        else cannot(f"runtime {library.version} does not give them"),
        grammar=cannot("the NPU runtime has no grammar"),
        run_sampling=YES
        if library.layout >= Layout.V1_3_0
        else cannot(f"runtime {library.version} takes sampling only when it loads a model"),
        seed=cannot("the NPU runtime takes no seed"),
        interruptible_prefill=cannot("an abort takes effect after prefill"),
        lora=YES,
        images=senses.capability("image", library.layout, library.version),
        audio=senses.capability("audio", library.layout, library.version),
    )


def _notes(library: Library, spec: LoadSpec, log: str) -> tuple[str, ...]:
    notes = []
    limit, driver = context_limit(log), driver_version(log)
    if limit is not None:
        notes.append(f"The model was converted for a context of at most {limit} tokens.")
    if driver is not None:
        notes.append(f"The NPU driver is {driver}; the runtime's guide asks for 0.9.8.")
    if library.layout is Layout.V1_1 and (
        spec.options.get("cpus") or spec.options.get("embed_flash")
    ):
        notes.append("Runtime 1.1 knows neither `cpus` nor `embed_flash`; they have no effect.")
    return tuple(notes)


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
