"""What is known to be wrong with a release of the runtime, as a table.

The numbers are issues of https://github.com/airockchip/rknn-llm; a word in front of one names
another repository. `warnings_of` is what `doctor` and the log say; nothing here changes what the
binding does.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quirk:
    """One known fault, in which releases, and what to do about it."""

    versions: tuple[str, ...]
    problem: str
    remedy: str
    source: str


_ALL_1_1 = ("1.1.0", "1.1.1", "1.1.2", "1.1.3", "1.1.4")
_ALL_1_2 = ("1.2.0", "1.2.1b1", "1.2.1", "1.2.2", "1.2.3")

QUIRKS = (
    Quirk(("1.1.0",), "a base_domain_id other than 0 crashes at load", "a newer runtime", "#99"),
    Quirk(
        _ALL_1_1, "a failed load is sometimes reported as success", "a newer runtime", "#156, #129"
    ),
    Quirk(("1.1.4",), "asynchronous runs give no output", "none needed: they are not used", "#206"),
    Quirk(("1.2.1b1",), "the cache goes wrong with embedding input", "a newer runtime", "#278"),
    Quirk(("1.2.1",), "asynchronous runs hang", "none needed: they are not used", "#320, #321"),
    Quirk(("1.2.2",), "asynchronous runs give no text", "none needed: they are not used", "#396"),
    Quirk(
        ("1.2.2",), "rkllm and rknn at the same time fail", "one user of the NPU at a time", "#315"
    ),
    Quirk(
        ("1.2.3",),
        "some DeepSeek and Qwen models answer [PAD151935] or garbage",
        "1.2.2 for those models, or 1.3.0 and newer",
        "#424, #467",
    ),
    Quirk(
        ("1.2.3",),
        "memory of embeddings and logits is not given back",
        "1.3.0 or newer",
        "#504",
    ),
    Quirk(_ALL_1_2, "prefixes are not reused behind an image", "1.3.0 or newer", "#492"),
    Quirk(
        ("1.3.0",),
        "some builds use SVE instructions and die of an illegal instruction",
        "another build of the library",
        "#518",
    ),
    Quirk(
        ("1.3.0",),
        "loading a second model without enough NPU memory crashes",
        "none needed: each model has its own process",
        "#522",
    ),
    Quirk(
        ("1.3.0",),
        "Qwen3.5 models can neither reuse nor save their state",
        "they are served without prompt caches",
        "#517, #519",
    ),
    Quirk(
        ("1.3.0",),
        "long prompts are slow with models quantised in groups",
        "models in plain w8a8",
        "rkllama #169",
    ),
    Quirk(
        ("1.3.1",),
        "a bus error at load with driver 0.9.8 was reported once",
        "1.2.3, or models converted with the toolkit of the same version",
        "one reporter, no issue",
    ),
)


def warnings_of(version: str) -> tuple[str, ...]:
    """What a person should know about a release, one sentence each."""
    return tuple(
        f"Runtime {version}: {quirk.problem} ({quirk.source}); remedy: {quirk.remedy}."
        for quirk in QUIRKS
        if version in quirk.versions
    )
