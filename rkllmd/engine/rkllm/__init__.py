"""The NPU engine: the vendor's runtime behind the engine contract.

`loading` loads a model, `engine` runs it, `answer` collects what the runtime calls back with,
`counts` works out tokens from what it measured, `media` checks images and sounds, `messages` knows
what its log lines mean, and `state_file` reads the head of its cache files.
"""

from rkllmd.engine.rkllm.loading import load

__all__ = ["load"]
