"""What runs a model file. Imported by the worker's child process only.

Every engine keeps the contract in `contract.py`; which one a file gets is decided by the registry.
`open_engine` imports an engine's room only when it is asked for, so that a worker for one engine
needs nothing of another.

Numeric libraries read how many threads they may use from `THREAD_VARIABLES` when they are first
imported and never again, so whoever wants another number than an engine's own choice sets them
before `open_engine`.
"""

import importlib
from typing import cast

from rkllmd.engine.contract import EngineModule
from rkllmd.errors import Code, EngineError

THREAD_VARIABLES = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
ENGINES = ("rkllm", "llama", "tiny")


def open_engine(name: str) -> EngineModule:
    """The engine of that name, ready to load a model."""
    if name not in ENGINES:
        raise EngineError(
            Code.LOAD_FAILED, f"There is no engine {name!r}; there are {', '.join(ENGINES)}."
        )
    try:
        return cast("EngineModule", importlib.import_module(f"rkllmd.engine.{name}"))
    except ImportError as missing:
        raise EngineError(
            Code.LOAD_FAILED, f"The engine {name!r} cannot be used here: {missing}."
        ) from missing
