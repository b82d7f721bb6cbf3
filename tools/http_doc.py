#!/usr/bin/env python3
"""Writes the answers in docs/http.md anew: `tools/http_doc.py URL` runs its examples, in order.

URL is that of a freshly started daemon on the bundled model. A test runs the same examples and
compares what may not change: every name and type, the values that are neither measured nor said by
the model, and of those that there are any.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "http.md"
BLOCK = re.compile(r"^```console\n\$ (.*?)\n(?=[^ ])(.*?)^```$", re.DOTALL | re.MULTILINE)
MEASURED = {
    "id", "created", "created_at", "ttft_ms", "size_mb", "fingerprint", "last_used", "said",
    "cached_tokens", "tokens", "prompt_tokens", "completion_tokens", "total_tokens",
    "finish_reason", "cache_n", "prompt_n", "prompt_ms", "prompt_per_second", "predicted_n",
    "predicted_ms", "predicted_per_second",
}  # fmt: skip


def examples(page: str) -> Iterator[tuple[str, str]]:
    """Each command and the answer that the page shows."""
    for found in BLOCK.finditer(page):
        yield found[1], found[2]


def run(command: str, url: str) -> str:
    """A command's output, JSON in a form that a person reads."""
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "H": url}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    try:
        return json.dumps(json.loads(done.stdout), indent=2, ensure_ascii=False) + "\n"
    except ValueError:
        return done.stdout.strip() + "\n"


def comparable(answer: str) -> Any:
    """What of an answer may not change: JSON without what is measured, or that there are words."""
    try:
        return _without_measured(json.loads(answer))
    except ValueError:
        return bool(answer.strip())


def _without_measured(value: Any, name: str = "") -> Any:
    match value:
        case {"role": "assistant", "content": str(said)}:
            return {**value, "content": bool(said)}
        case dict():
            return {key: _without_measured(member, key) for key, member in value.items()}
        case list():
            return [_without_measured(item) for item in value]
        case _:
            return (type(value).__name__, bool(value)) if name in MEASURED else value


def main() -> int:
    """Rewrite the page."""
    url = sys.argv[1]
    page = PAGE.read_text()
    rewritten = BLOCK.sub(lambda found: f"```console\n$ {found[1]}\n{run(found[1], url)}```", page)
    PAGE.write_text(rewritten)
    return 0


if __name__ == "__main__":
    sys.exit(main())
