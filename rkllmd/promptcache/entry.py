"""The stored form of a cache entry: three files in `cache/MODEL/`.

    NAME.bin          the prompt's text, UTF-8, exactly as it was declared or sent
    NAME.rkllm_cache  the engine's state after the rendered prompt; the engine's own file, opaque
    NAME.json         what they are, and the checksums of both; the entry exists by it

`NAME.json` is an object of these members, in any order, ended by its own checksum:

    format             1; see FORMATS_READABLE
    cache_name         NAME; a file that was copied to another name is no entry
    model_name         the model when it was written; the folder's name counts
    created_at         when the prompt became an entry, in seconds since 1970
    content_length     characters of the text
    source, origin     declared, api or learned; the file or client it came from
    state, reason      verified, unverified, stale, broken or quarantined, and why
    pinned             never evicted
    evicted            the state was let go to make room; it is not built again by itself
    text_bytes, text_sha256           of NAME.bin
    next_text          text that replaces NAME.bin once its state is built and verified, or null
    hidden_text        a client's text that a declared prompt of the same name hides, or null
    verification       null, or the last proof: at, model_mtime_ns, canaries (how many ran),
                       counts_fit (prefilled no token of the prefix), words_agree (same greedy
                       tokens), note
    failure            null, or the last failed build: fingerprint, at, attempts, reason, advice
    fingerprint        null without a NAME.rkllm_cache; otherwise what it was made from, and then:
    ingredients        the parts of the fingerprint
    prefix             kind and data (base64): the rendered prefix as it is compared with prompts
    tokens             of the prefix
    size, state_sha256 of NAME.rkllm_cache
    built_at, build_ms when and how long
    first_token_ms, first_token_cached_ms     as measured when it was proved; null when it was not
    checksum           SHA-256 of every byte before the comma in front of it; always the last line

Members that are not known here survive a rewrite. A byte that was changed or is missing in any of
the three files makes the entry a miss with a reason.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, Literal, Self

from rkllmd import shape
from rkllmd.ids import NAME_RULE, CacheName, ModelName
from rkllmd.promptcache.fingerprint import FORMAT, Count, Ingredients, Sha256
from rkllmd.runs import Prompt, PromptKind
from rkllmd.shape import Length, Pattern, Range

FORMATS_READABLE = (1,)
TEXT_BYTES_MAX = 4 << 20
JSON_BYTES_MAX = 64 << 20

State = Literal["verified", "unverified", "stale", "broken", "quarantined"]
Source = Literal["declared", "api", "learned"]
Key = tuple[ModelName, CacheName]

Name = Annotated[str, Pattern(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", NAME_RULE)]
Moment = Annotated[float, Range(0, 1e11)]
Duration = Annotated[float, Range(0, 1e11)]

_TAIL = re.compile(rb',\n "checksum": "([0-9a-f]{64})"\n}\n')
_TAIL_BYTES = 84


class BadEntryError(ValueError):
    """The bytes are no entry; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """A rendered prefix in a form that JSON can hold."""

    kind: PromptKind
    data: str

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        """The stored form of a prompt."""
        return cls(prompt.kind, base64.b64encode(prompt.data).decode())

    @property
    def prompt(self) -> Prompt:
        """The prompt that was stored."""
        return Prompt(self.kind, base64.b64decode(self.data, validate=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The engine's state in `NAME.rkllm_cache`."""

    fingerprint: Sha256
    ingredients: Ingredients
    prefix: Prefix
    tokens: Count
    built_at: Moment
    build_ms: Duration
    first_token_ms: Duration | None = None
    first_token_cached_ms: Duration | None = None
    size: Count = 0
    """Filled in by the store, like the next one."""
    state_sha256: Sha256 = "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What the canaries said."""

    at: Moment
    model_mtime_ns: Count = 0
    """The model file's modification time; another one asks for another proof."""
    canaries: Count
    counts_fit: Count
    words_agree: Count
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last build of this prompt that failed."""

    fingerprint: Sha256
    """What was to be built."""
    at: Moment
    attempts: Annotated[int, Range(1, 1 << 31)]
    """How many in a row with this fingerprint."""
    reason: str
    advice: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A prompt of a model, with the engine's state after it where that has been built."""

    model_name: Name
    cache_name: Name
    created_at: Moment
    source: Source
    origin: str = ""
    state: State
    reason: str = ""
    pinned: bool = False
    evicted: bool = False
    content_length: Count = 0
    """Filled in by the store, like the next two."""
    text_bytes: Count = 0
    text_sha256: Sha256 = "0" * 64
    next_text: Annotated[str, Length(0, TEXT_BYTES_MAX)] | None = None
    hidden_text: Annotated[str, Length(0, TEXT_BYTES_MAX)] | None = None
    verification: Verification | None = None
    failure: Failure | None = None
    snapshot: Snapshot | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Members that a newer version wrote."""

    @property
    def key(self) -> Key:
        """Model and name."""
        return ModelName(self.model_name), CacheName(self.cache_name)

    @property
    def usable(self) -> bool:
        """Whether the state was proved, and so may be loaded where it fits the loaded model.

        A stale one is usable too: it goes on serving until the next one is proved.
        """
        proved = self.snapshot is not None and self.verification is not None
        return proved and self.state in {"verified", "stale"}


@dataclass(frozen=True, slots=True)
class Damaged:
    """Files of an entry that cannot be used, and why."""

    model_name: ModelName
    cache_name: CacheName
    reason: str
    entry: Entry | None = None
    """What `NAME.json` says, where it is whole."""
    text: str | None = None
    """The prompt's text, where `NAME.bin` is whole."""

    @property
    def key(self) -> Key:
        """Model and name."""
        return self.model_name, self.cache_name


_OWN = tuple(part.name for part in fields(Entry) if part.name not in {"snapshot", "extra"})
_OF_SNAPSHOT = tuple(part.name for part in fields(Snapshot))
_KNOWN = {"format", "checksum", *_OWN, *_OF_SNAPSHOT}


def render(entry: Entry) -> bytes:
    """The bytes of `NAME.json`."""
    plain = asdict(entry)
    members: dict[str, Any] = {"format": FORMAT, **{name: plain[name] for name in _OWN}}
    members |= plain["snapshot"] or {"fingerprint": None}
    members |= {name: value for name, value in entry.extra.items() if name not in _KNOWN}
    body = json.dumps(members, indent=1).removesuffix("\n}").encode()
    checksum = hashlib.sha256(body).hexdigest()
    return body + f',\n "checksum": "{checksum}"\n}}\n'.encode()


def parse(data: bytes, name: str) -> Entry:
    """The entry that the bytes of `NAME.json` describe, or a `BadEntryError` that says why not."""
    members = _members(data)
    version = members.get("format")
    if type(version) is not int or version not in FORMATS_READABLE:
        readable = ", ".join(map(str, FORMATS_READABLE))
        raise BadEntryError(f"it has format {shape.describe(version)}, readable is {readable}")
    tail = _TAIL.fullmatch(data[-_TAIL_BYTES:])
    if tail is None:
        raise BadEntryError("it does not end with its checksum; it was cut off or edited")
    if hashlib.sha256(data[:-_TAIL_BYTES]).hexdigest() != tail[1].decode():
        raise BadEntryError("its checksum does not fit; it was damaged or edited")
    entry = _read(members)
    if entry.cache_name != name:
        raise BadEntryError(
            f"it describes the cache {entry.cache_name!r}; it was copied or renamed"
        )
    return entry


def _members(data: bytes) -> dict[str, Any]:
    try:
        members = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadEntryError(f"it is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise BadEntryError("it is no JSON object")
    return members


def _read(members: dict[str, Any]) -> Entry:
    own = {name: members[name] for name in _OWN if name in members}
    try:
        entry = shape.read(Entry, own)
        snapshot = None
        if members.get("fingerprint") is not None:
            snapshot = shape.read(
                Snapshot, {name: members[name] for name in _OF_SNAPSHOT if name in members}
            )
    except shape.ShapeError as error:
        raise BadEntryError(str(error)) from error
    if snapshot is not None:
        _check(snapshot)
    extra = {name: value for name, value in members.items() if name not in _KNOWN}
    return replace(entry, snapshot=snapshot, extra=extra)


def _check(snapshot: Snapshot) -> None:
    if snapshot.ingredients.digest() != snapshot.fingerprint:
        raise BadEntryError("its fingerprint is not that of its ingredients")
    try:
        prompt = snapshot.prefix.prompt
    except ValueError as error:
        raise BadEntryError(f"its prefix is no base64: {error}") from error
    if len(prompt.data) % prompt.unit_bytes:
        raise BadEntryError("its prefix ends within a token")
