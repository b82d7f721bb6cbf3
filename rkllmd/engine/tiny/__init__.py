"""The embedded engine: a small Llama-architecture model from a GGUF file, in numpy.

It computes on one thread unless the environment says otherwise. Measured on two cores of an AMD
EPYC that other work was using too, 4.2 million parameters, min/median/max of 7 in ms, twice:

    threads  prefill of 1,000 tokens  one token after 120
    1        382/454/532              2.5/3.1/3.3
    2        1289/4790/9628           8.0/28.5/91.1
    1        542/644/689              3.5/4.2/6.5
    2        1678/1969/7312           6.9/13.1/59.2

Products this small are done before a second thread is awake, and threads that spin for each other
lose whenever another process wants their core. An idle machine was not at hand.
"""

import os

from rkllmd.engine import THREAD_VARIABLES

for _name in THREAD_VARIABLES:  # before numpy is imported, which reads them once
    os.environ.setdefault(_name, "1")

from rkllmd.engine.tiny.engine import TinyEngine, load  # noqa: E402

__all__ = ["TinyEngine", "load"]
