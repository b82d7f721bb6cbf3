"""Many short runs through a real worker and its frames: how much memory it takes for good.

    python -m tests.engine_rkllm.soak [RUNS]

The worker's resident memory is looked at ten times, once it is warm. What a run leaves behind is
the median of the steps between the looks: what is lost with each run is part of every step, while
what is taken once and for all (seen: a MiB after about 7,000 runs, whose cause was not traced, and
nothing more up to 42,000) is part of one. Growth in rare jumps would be seen in the looks only.
"""

import asyncio
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from rkllmd.config import settings
from rkllmd.ids import ModelName
from rkllmd.runs import GREEDY, Limits, LoadSpec, Prompt
from rkllmd.worker.supervisor import Supervisor
from tests.engine_rkllm.stories import resident_kib, turn
from tests.fakes.rkllm.built import NEWEST, built, make_model

WARM_UP_RUNS = 2000
LOOKS = 10


@dataclass(frozen=True)
class Growth:
    """The worker's resident memory over the runs that count."""

    runs: int
    seconds: float
    looks_kib: list[int]

    @property
    def bytes_per_run(self) -> float:
        """What a run leaves behind."""
        steps = [after - before for before, after in pairwise(self.looks_kib)]
        return median(steps) * 1024 * len(steps) / self.runs


async def soak(library: Path, model: Path, runs: int) -> Growth:
    """Run, and look at the worker's memory."""
    spec = LoadSpec(str(model), options={"library": str(library)})
    limits = settings.Engine(restarts_max=0)
    async with Supervisor(ModelName("kitchen"), "rkllm", spec, limits, 5.0) as worker:
        await worker.start()
        await _run(worker, WARM_UP_RUNS)
        began, looks = time.monotonic(), [resident_kib(worker.pid)]
        for _ in range(LOOKS):
            await _run(worker, runs // LOOKS)
            looks.append(resident_kib(worker.pid))
        return Growth(runs // LOOKS * LOOKS, time.monotonic() - began, looks)


async def _run(worker: Supervisor, runs: int) -> None:
    for number in range(runs):
        prompt = Prompt.of_text(turn(f"number {number % 7}"))
        stats = await worker.run(prompt, GREEDY, Limits(2))
        assert stats.generated_tokens == 2


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder) / "model.rkllm")
        grown = asyncio.run(soak(built(NEWEST), model, runs))
    print(
        f"{grown.runs} runs in {grown.seconds:.1f} s, {grown.bytes_per_run:.1f} bytes left by each;"
        f" resident memory in KiB: {' '.join(map(str, grown.looks_kib))}"
    )


if __name__ == "__main__":
    main()
