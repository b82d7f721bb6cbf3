"""GGUF models through llama.cpp, on the CPU.

llama.cpp comes with the wheel of `xllamacpp`, the extra `rkllmd[llama]`: the one binding that has
wheels for x86-64 and aarch64. What that binding offers itself is llama.cpp's server in the process,
which is one layer too high for the contract: it computes on a thread of its own, so that a run can
be stopped only after the fact and `should_stop` is not asked before a chunk; a state file is named
by a slot in a folder given at load, and says nothing of the model that it belongs to; a server
computes answers or vectors, not both; a schema is turned into a grammar whose faults show as an
unconstrained answer. `llama-cpp-python` has the functions that the contract needs, but comes as
source that takes ten minutes to compile here, and hours on a board.

The shared object in the wheel of `xllamacpp` exports llama.cpp's whole C interface, so this room
calls that by ctypes (`library`): wheels, and every function. The two structs that have to be passed
change between releases; `library` writes only into places that it has proved by the defaults which
the library itself puts there, and refuses a release in which it cannot.
"""

from rkllmd.engine.llama.engine import LlamaEngine, load

__all__ = ["LlamaEngine", "load"]
