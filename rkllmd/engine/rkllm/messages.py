"""What the runtime's log lines mean. They are the only place where it says why.

Texts were seen on releases 1.1 to 1.3.1; one that is not known makes a general error, which quotes
the last lines.
"""

import re
from dataclasses import dataclass

from rkllmd.errors import Code, EngineError
from rkllmd.native.handle import Perf

LINES_QUOTED = 3

_LIMIT = re.compile(r"max_context_limit\W{1,3}(\d+)")
_DRIVER = re.compile(r"rknpu driver version: (\d[\w.]*)")
_TABLE_ROW = re.compile(r"(Prefill|Generate)\s+([\d.]+)\s+(\d+)\s+[\d.]+\s+\S+")
_NO_STATE = re.compile(
    r"does not support (?:saving prompt cache|kv cache reuse)", re.IGNORECASE
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Meaning:
    """A text in the log, and the error that it stands for."""

    pattern: re.Pattern[str]
    code: Code
    sentence: str


LOAD_FAILURES = (
    Meaning(
        re.compile(r"max_context\[(\d+)\] must be less than"),
        Code.LOAD_FAILED,
        "The context is larger than the model allows; set `context` in model.yaml to at most"
        " {limit}.",
    ),
    Meaning(
        re.compile(r"number of enabled CPUs must be greater"),
        Code.LOAD_FAILED,
        "The model uses more NPU cores than CPUs were given; list more in `cpus` of model.yaml,"
        " or leave it out.",
    ),
    Meaning(
        re.compile(r"failed to malloc npu memory|failed to allocate handle"),
        Code.OUT_OF_MEMORY,
        "The NPU has no memory left for this model; unload another one, set a smaller `context`,"
        " or another `base_domain_id` in model.yaml.",
    ),
    Meaning(
        re.compile(r"Too many open files"),
        Code.LOAD_FAILED,
        "The process may open too few files; raise LimitNOFILE of the service to 65536.",
    ),
    Meaning(
        re.compile(r"invalid rknn llm model magic"),
        Code.LOAD_FAILED,
        "The file is no model for this runtime; convert it with toolkit 1.1 or newer.",
    ),
)


def load_error(log: str) -> EngineError:
    """Why loading failed, from what was printed meanwhile."""
    for meaning in LOAD_FAILURES:
        if meaning.pattern.search(log):
            limit = context_limit(log)
            details = {} if limit is None else {"context_limit": limit}
            return EngineError(meaning.code, meaning.sentence.format(limit=limit), **details)
    return EngineError(Code.LOAD_FAILED, f"The runtime could not load the model{_quoted(log)}")


def _quoted(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"; it said: {' | '.join(lines[-LINES_QUOTED:])}" if lines else " and did not say why."


def context_limit(log: str) -> int | None:
    """The context that the model was converted for; no function of the runtime says it."""
    found = _LIMIT.search(log)
    return int(found[1]) if found else None


def driver_version(log: str) -> str | None:
    """The kernel driver's version that the runtime found."""
    found = _DRIVER.search(log)
    return found[1] if found else None


def refuses_state(log: str) -> bool:
    """Whether the runtime said that this model's state cannot be kept or saved."""
    return _NO_STATE.search(log) is not None


def run_table(log: str) -> Perf | None:
    """The last table of a run in the log (RKLLM_LOG_LEVEL=1), None where there is none."""
    rows = {row[0]: row for row in _TABLE_ROW.findall(log)}
    if "Prefill" not in rows:
        return None
    _, prefill_ms, prefilled = rows["Prefill"]
    _, decode_ms, _ = rows.get("Generate", ("", "0", ""))
    return Perf(int(prefilled), float(prefill_ms), float(decode_ms))
