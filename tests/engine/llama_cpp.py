"""llama.cpp, through xllamacpp, in a process of its own: what engines are compared with.

As a program (`python -m tests.engine.llama_cpp MODEL CONTEXT POOLING`) it answers lines of JSON,
each a path of llama.cpp's server and a body.
"""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent.parent


class LlamaCpp:
    """One model in llama.cpp, in float32 throughout and on one thread."""

    def __init__(self, path: Path, *, context: int = 512, pooling: str = "") -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.llama_cpp", str(path), str(context), pooling],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.communicate()

    def ask(self, path: str, body: Any) -> Any:
        """One request to its server."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps([path, body]).encode() + b"\n")
        self._child.stdin.flush()
        return json.loads(self._child.stdout.readline())

    def complete(self, prompt: str | list[int], tokens: int, **members: Any) -> list[int]:
        """The tokens of an answer, greedy unless the members say otherwise."""
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "return_tokens": True}
        answer = self.ask("/completion", {**body, "cache_prompt": False, **members})
        return list(answer["tokens"])

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text, special ones and BOS included."""
        body = {"content": text, "add_special": True, "parse_special": True}
        return list(self.ask("/tokenize", body)["tokens"])

    def embed(self, text: str) -> list[float]:
        """The vector of a text, of length 1."""
        return list(self.ask("/v1/embeddings", {"input": text})["data"][0]["embedding"])


def serve(model: str, context: str, pooling: str) -> None:
    """Answer the lines on standard input."""
    import xllamacpp as x

    params = x.CommonParams()
    params.model.path = model
    params.n_ctx = int(context)
    params.n_parallel = 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.cache_type_k = params.cache_type_v = x.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup = params.fit_params = False
    params.verbosity = 0
    if pooling:
        params.embedding = True
        kind = f"LLAMA_POOLING_TYPE_{pooling.upper()}"
        params.pooling_type = getattr(x.llama_pooling_type, kind)
    server = x.Server(params)
    for line in sys.stdin:
        path, body = json.loads(line)
        request = urllib.request.Request(
            server.listening_address + path,
            json.dumps(body).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            print(json.dumps(json.load(answer)), flush=True)


if __name__ == "__main__":
    serve(*sys.argv[1:])
