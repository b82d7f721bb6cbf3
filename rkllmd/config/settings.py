"""Every setting, its type, its bounds, its default and its text.

The docstring below a field is the comment in `etc/rkllmd.yaml` and the text in `rkllmd.yaml(5)`; a
test compares them. Paths are kept as text here and made absolute by the loader.
"""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from rkllmd.shape import Length, Pattern, Range

Seconds = Annotated[float, Range(0, 86_400)]
PathText = Annotated[str, Length(1, 4095)]


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things are."""

    models: tuple[PathText, ...] = ("../models",)
    """Folders in which each folder is a model. Of two of the same name the first one counts."""
    cache: PathText = "../cache"
    """The folder of the prompt caches. Nothing outside it is ever written."""
    prompts: PathText = "config"
    """The folder with system.txt, prompts/NAME.txt and models/MODEL/NAME.txt."""
    runtime: PathText = "../run"
    """The folder of the sockets that the daemon makes itself."""


@dataclass(frozen=True, slots=True)
class Socket:
    """The Unix socket with the JSON-lines protocol."""

    path: PathText = "rkllmd.sock"
    """Relative to the runtime folder. Not used when systemd hands a socket over."""
    mode: Annotated[str, Pattern(r"0o?[0-7]{3}", "octal digits as chmod takes them, as 0660")] = (
        "0660"
    )
    """The socket file's permissions, as octal digits with a leading 0."""
    group: str = ""
    """The socket file's group; empty leaves it as it is."""
    line_bytes_max: Annotated[int, Range(1024, 67_108_864)] = 4_194_304
    """The longest line that a client may send."""
    connections_max: Annotated[int, Range(1, 100_000)] = 1024
    """How many clients may be connected; further ones are told and closed."""
    requests_max: Annotated[int, Range(1, 10_000)] = 256
    """How many requests one connection may have open."""
    outbox_bytes_max: Annotated[int, Range(65_536, 1_073_741_824)] = 1_048_576
    """How much may wait for a client that does not read."""
    stall_s: Annotated[float, Range(0.1, 3600)] = 10.0
    """How long a full outbox is tolerated before the connection is closed as slow_client."""

    @property
    def mode_bits(self) -> int:
        """The permissions as chmod(2) takes them."""
        return int(self.mode, 8)


@dataclass(frozen=True, slots=True)
class Http:
    """The HTTP face: OpenAI's endpoints, Ollama's, the caches, and /ask."""

    path: str = "http.sock"
    """Its Unix socket, relative to the runtime folder; empty for none. Not used when systemd hands
    sockets over."""
    mode: Annotated[str, Pattern(r"0o?[0-7]{3}", "octal digits as chmod takes them, as 0660")] = (
        "0660"
    )
    """The socket file's permissions, as octal digits with a leading 0."""
    group: str = ""
    """The socket file's group; empty leaves it as it is."""
    host: Annotated[str, Length(1, 253)] = "127.0.0.1"
    """The address for TCP. One that is not loopback is refused without keys."""
    port: Annotated[int, Range(0, 65_535)] = 8080
    """The port for TCP; 0 for none."""
    keys_file: str = ""
    """A file with one bearer key on each line, which TCP clients then have to show; readable by
    its owner and group only."""
    origins: tuple[str, ...] = ()
    """The web pages that browsers may ask from, as https://example.org; * is every page."""
    certificate: str = ""
    """The certificate chain for TLS on TCP, as a PEM file; empty for none."""
    certificate_key: str = ""
    """The certificate's key, as a PEM file."""
    body_bytes_max: Annotated[int, Range(1024, 67_108_864)] = 4_194_304
    """The longest body that a client may send."""
    body_s: Annotated[float, Range(0.1, 3600)] = 30.0
    """How long a body may take to arrive."""
    idle_s: Annotated[float, Range(0.1, 3600)] = 75.0
    """How long a connection may be open without a request on it."""
    connections_max: Annotated[int, Range(1, 100_000)] = 1024
    """How many clients may be connected; further ones are closed."""
    stall_s: Annotated[float, Range(0.1, 3600)] = 10.0
    """How long a client that does not read its answer is tolerated."""

    @property
    def mode_bits(self) -> int:
        """The permissions as chmod(2) takes them."""
        return int(self.mode, 8)


@dataclass(frozen=True, slots=True)
class Wyoming:
    """The Wyoming face, as Home Assistant's voices speak it."""

    path: str = "wyoming.sock"
    """Its Unix socket, relative to the runtime folder; empty for none. Not used when systemd hands
    sockets over."""
    mode: Annotated[str, Pattern(r"0o?[0-7]{3}", "octal digits as chmod takes them, as 0660")] = (
        "0660"
    )
    """The socket file's permissions, as octal digits with a leading 0."""
    group: str = ""
    """The socket file's group; empty leaves it as it is."""
    host: Annotated[str, Length(1, 253)] = "127.0.0.1"
    """The address for TCP. One that is not loopback is refused without networks."""
    port: Annotated[int, Range(0, 65_535)] = 0
    """The port for TCP; 0 for none. 10500 is used by none of the well-known Wyoming services."""
    networks: tuple[str, ...] = ()
    """The networks that may come over TCP besides this machine, as 192.168.1.0/24; Wyoming knows no
    keys."""
    connections_max: Annotated[int, Range(1, 100_000)] = 256
    """How many clients may be connected; further ones are told and closed."""
    stall_s: Annotated[float, Range(0.1, 3600)] = 10.0
    """How long a client that does not read its answer is tolerated."""

    @property
    def mode_bits(self) -> int:
        """The permissions as chmod(2) takes them."""
        return int(self.mode, 8)


@dataclass(frozen=True, slots=True)
class Models:
    """Which models are loaded, and when they are let go."""

    default: str = ""
    """The model of requests that name none; empty takes the first one by name."""
    preload: tuple[str, ...] | Literal["default", "all", "none"] = "default"
    """The models that are loaded at start: a list of names, or default, all, none."""
    keep_alive_s: Annotated[float, Range(-1, 31_536_000)] = -1
    """How long an unused model stays loaded; -1 keeps it."""
    loaded_max: Annotated[int, Range(1, 64)] = 2
    """How many models may be loaded at a time."""
    settle_s: Annotated[float, Range(0, 600)] = 2.0
    """How long a model's files have to be still before they are touched."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How model files are run."""

    threads: Annotated[int, Range(0, 256)] = 0
    """Threads of the CPU engines; 0 lets them choose: tiny one, llama one on each big core."""
    load_s: Annotated[float, Range(1, 3600)] = 180.0
    """How long loading a model may take."""
    hello_s: Annotated[float, Range(0.5, 600)] = 30.0
    """How long a worker may take to say its first word."""
    hang_s: Annotated[float, Range(1, 3600)] = 120.0
    """A run without any progress for this long is hung; its worker is replaced."""
    restarts_max: Annotated[int, Range(0, 1000)] = 5
    """How many times a worker may die within restarts_window_s before its model is given up."""
    restarts_window_s: Annotated[float, Range(1, 86_400)] = 300.0
    """The window in which deaths are counted."""
    library: str = ""
    """The vendor's librkllmrt.so; empty searches the usual folders."""
    layout: str = ""
    """Forces a layout of the binding (1.1, 1.2.0, 1.2.1, 1.3.0, 1.3.1) for an unknown runtime."""


@dataclass(frozen=True, slots=True)
class Cache:
    """The prompt caches."""

    enabled: bool = True
    """Build and use prompt caches."""
    bytes_max: Annotated[int, Range(0, 1 << 50)] = 4 << 30
    """How much the cache folder may hold; 0 is no limit."""
    free_bytes_min: Annotated[int, Range(0, 1 << 50)] = 256 << 20
    """How much space must stay free on the disk of the cache folder."""
    learn_after: Annotated[int, Range(0, 1_000_000)] = 3
    """After how many sightings a client's own system prompt gets a cache; 0 never."""
    learn_tokens_min: Annotated[int, Range(1, 1_000_000)] = 64
    """Shorter system prompts are not learned."""
    learned_max: Annotated[int, Range(0, 10_000)] = 8
    """How many learned caches each model may have."""
    reconcile_s: Annotated[float, Range(1, 86_400)] = 300.0
    """How often desired and actual caches are compared when nothing happens."""


@dataclass(frozen=True, slots=True)
class Queue:
    """Who waits, and how long."""

    length_max: Annotated[int, Range(1, 100_000)] = 512
    """How many requests may wait for one model."""
    wait_s: Annotated[float, Range(1, 86_400)] = 600.0
    """How long a request may wait for its turn."""
    run_s: Annotated[float, Range(1, 86_400)] = 600.0
    """How long one run may take."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stopping what runs."""

    hard_ms: Annotated[int, Range(100, 600_000)] = 5000
    """A worker that does not stop within this time after a cancel is replaced."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """Conversations that the daemon remembers."""

    expire_s: Annotated[float, Range(1, 31_536_000)] = 330.0
    """How long an unused session is kept."""
    count_max: Annotated[int, Range(1, 100_000)] = 256
    """How many sessions there may be; the one unused for longest goes first."""
    bytes_max: Annotated[int, Range(1024, 1 << 30)] = 1 << 20
    """How much text one session may hold."""
    snapshot_bytes_max: Annotated[int, Range(0, 1 << 50)] = 512 << 20
    """How much the cache folder may hold, beside cache.bytes_max, of the states of sessions that
    take turns on a model; 0 keeps none. Only engines with a tokenizer have them."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Leaving."""

    drain_s: Seconds = 20.0
    """How long running answers may go on after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Log:
    """What is written to the journal."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important lines that are written."""
    content: bool = False
    """Write prompts and answers too. They are private; leave it off."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are chosen where neither the request nor model.yaml says it."""

    temperature: Annotated[float, Range(0, 5)] = 0.7
    """0 always takes the likeliest token."""
    top_k: Annotated[int, Range(0, 1_000_000)] = 40
    """Only this many likeliest tokens are drawn from; 0 is all."""
    top_p: Annotated[float, Range(0, 1)] = 0.9
    """Only the likeliest tokens that make up this share are drawn from."""
    repeat_penalty: Annotated[float, Range(0.01, 10)] = 1.0
    """Above 1, tokens that were seen lately become less likely."""
    frequency_penalty: Annotated[float, Range(-2, 2)] = 0.0
    """Taken off a token's logit for each time it was generated."""
    presence_penalty: Annotated[float, Range(-2, 2)] = 0.0
    """Taken off a token's logit once it was generated."""
    max_tokens: Annotated[int, Range(1, 1_048_576)] = 512
    """The longest answer."""


@dataclass(frozen=True, slots=True)
class Config:
    """The whole tree, as in `etc/rkllmd.yaml`."""

    paths: Paths = field(default_factory=Paths)
    socket: Socket = field(default_factory=Socket)
    http: Http = field(default_factory=Http)
    wyoming: Wyoming = field(default_factory=Wyoming)
    models: Models = field(default_factory=Models)
    engine: Engine = field(default_factory=Engine)
    sampling: Sampling = field(default_factory=Sampling)
    cache: Cache = field(default_factory=Cache)
    queue: Queue = field(default_factory=Queue)
    cancel: Cancel = field(default_factory=Cancel)
    sessions: Sessions = field(default_factory=Sessions)
    shutdown: Shutdown = field(default_factory=Shutdown)
    log: Log = field(default_factory=Log)


Tag = Annotated[str, Pattern(r"[^\0]{0,64}", "at most 64 characters")]


@dataclass(frozen=True, slots=True)
class LoraSettings:
    """An adapter in model.yaml."""

    file: Annotated[str, Length(1, 255)]
    """The adapter's file, in the model's folder."""
    scale: Annotated[float, Range(-100, 100)] = 1.0
    """How strongly it is applied."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What `model.yaml` beside a model file can say; every key is optional."""

    engine: Literal["tiny", "llama", "rkllm"] | None = None
    """Which engine runs it; by the file's ending, and a GGUF's size, when absent."""
    context: Annotated[int, Range(32, 1_048_576)] | None = None
    """Tokens that prompt and answer may have together; the model's own limit when absent."""
    template: str | None = None
    """A built-in chat template's name, or a Jinja2 template; the file's own when absent."""
    temperature: Annotated[float, Range(0, 5)] | None = None
    """As sampling.temperature."""
    top_k: Annotated[int, Range(0, 1_000_000)] | None = None
    """As sampling.top_k."""
    top_p: Annotated[float, Range(0, 1)] | None = None
    """As sampling.top_p."""
    repeat_penalty: Annotated[float, Range(0.01, 10)] | None = None
    """As sampling.repeat_penalty."""
    frequency_penalty: Annotated[float, Range(-2, 2)] | None = None
    """As sampling.frequency_penalty."""
    presence_penalty: Annotated[float, Range(-2, 2)] | None = None
    """As sampling.presence_penalty."""
    max_tokens: Annotated[int, Range(1, 1_048_576)] | None = None
    """As sampling.max_tokens."""
    stop: tuple[Annotated[str, Length(1, 256)], ...] = ()
    """Texts that end every answer of this model."""
    lora: tuple[LoraSettings, ...] = ()
    """Adapters."""
    preload: bool | None = None
    """Overrides models.preload for this model."""
    keep_alive_s: Annotated[float, Range(-1, 31_536_000)] | None = None
    """As models.keep_alive_s."""
    languages: tuple[Annotated[str, Length(2, 35)], ...] = ("en",)
    """The languages it speaks, as BCP 47 tags."""
    thinking: Literal["none", "qwen", "deepseek"] | None = None
    """How it marks its thinking; found from the template when absent."""
    image_start: Tag = ""
    """The tag before an image (rkllm)."""
    image_end: Tag = ""
    """The tag behind an image (rkllm)."""
    image_content: Tag = ""
    """The tag that stands for each row of an image's embeddings; without it the model takes no
    images (rkllm)."""
    image_width: Annotated[int, Range(0, 65_536)] = 0
    """The width in pixels of what the vision encoder was given, where the model has to know it."""
    image_height: Annotated[int, Range(0, 65_536)] = 0
    """Likewise, the height."""
    image_outputs: Annotated[int, Range(1, 64)] = 1
    """How many outputs the vision encoder has; they stand side by side in each row (4 for
    Qwen3-VL)."""
    audio_start: Tag = ""
    """The tag before a sound (rkllm, from runtime 1.3.1 on)."""
    audio_end: Tag = ""
    """The tag behind a sound."""
    audio_content: Tag = ""
    """The tag that stands for each row of a sound's embeddings; without it the model takes none."""
    embed_flash: bool = False
    """Read word embeddings from the disk in place of memory (rkllm)."""
    base_domain_id: Annotated[int, Range(0, 15)] = 0
    """The NPU's memory domain from which loading starts (rkllm)."""
    cpus: tuple[Annotated[int, Range(0, 31)], ...] = ()
    """The CPU cores that the engine may use (rkllm, llama); empty leaves the choice to it."""
