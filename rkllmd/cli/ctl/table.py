"""Every command, in the order of the help."""

from rkllmd.cli.ctl.command import Command, argument, ending, number, option, switch

MODEL = option("--model", "which model; the default one when absent", metavar="NAME")
CONFIG = option("--config", "the daemon's configuration file", metavar="FILE")
SOME_MODEL = argument("model", "the model's name")
SOME_CACHE = argument("name", "the cache's name, which is its prompt's")
ANY_MODEL = argument("model", "of this model; of all when absent", nargs="?")
ANY_CACHE = argument("name", "only this cache; all when absent", nargs="?")
SESSION = argument("session", "the session's name")

COMMANDS = (
    Command("status", "how the daemon is", "status:status", "status"),
    Command(
        "wait", "return when the daemon is ready", "status:wait", "wait --timeout 60",
        (option("--timeout", "give up after so many seconds (default: %(default)s)",
                type=number(float, 0), default=600, metavar="SECONDS"),),
    ),
    Command(
        "ask", "one question, one answer", "talk:ask", "ask 'What is the time in Lima?'",
        (
            argument("text", "the question; standard input when absent", nargs="?"),
            MODEL,
            option("--session", "a conversation that goes on", metavar="NAME"),
            option("--system", "a system prompt of your own", metavar="TEXT"),
            option("--cache", "take this prompt's cache", metavar="NAME"),
            option("--max-tokens", "the longest answer", type=number(int, 1), metavar="N"),
            option("--temperature", "0 always takes the likeliest word", type=number(float, 0, 5),
                   metavar="T"),
        ),
    ),
    Command(
        "chat", "a conversation; Ctrl-C ends an answer, Ctrl-D the chat", "talk:chat",
        "chat --model tiny-assistant",
        (MODEL, option("--session", "the conversation's name; a new one when absent",
                       metavar="NAME")),
    ),
    Command("model list", "the models", "models:show_all", "model list"),
    Command("model show", "what is known of a model", "models:show", "model show tiny-assistant",
            (SOME_MODEL,)),
    Command("model load", "load a model", "models:load", "model load tiny-assistant",
            (SOME_MODEL,)),
    Command("model unload", "unload a model", "models:unload", "model unload tiny-assistant",
            (SOME_MODEL,)),
    Command("model verify", "ask a model with and without its cache, and prove its caches",
            "models:verify", "model verify tiny-assistant", (SOME_MODEL,)),
    Command("cache list", "the prompt caches", "caches:show_all", "cache list", (ANY_MODEL,)),
    Command("cache show", "what is known of a cache", "caches:show",
            "cache show tiny-assistant system", (SOME_MODEL, SOME_CACHE)),
    Command(
        "cache create", "keep a prompt and build its cache", "caches:create",
        "cache create tiny-assistant pirate pirate.txt",
        (
            SOME_MODEL, SOME_CACHE,
            argument("file", "the prompt's text; standard input when absent", nargs="?"),
            switch("--overwrite", "replace one of the same name"),
        ),
    ),
    Command(
        "cache build", "build caches that are not there", "caches:build",
        "cache build tiny-assistant --force",
        (SOME_MODEL, ANY_CACHE, switch("--force", "also those that are good")),
    ),
    Command("cache delete", "delete a cache", "caches:delete",
            "cache delete tiny-assistant pirate", (SOME_MODEL, SOME_CACHE)),
    Command("cache verify", "prove caches again", "caches:verify", "cache verify",
            (ANY_MODEL, ANY_CACHE)),
    Command(
        "cache export", "write a cache to one file, for boards like this one", "carry:send",
        "cache export tiny-assistant system system.rkllmd-cache",
        (SOME_MODEL, SOME_CACHE, argument("file", "the file to write"), CONFIG),
    ),
    Command(
        "cache import", "take a cache from such a file, and prove it", "carry:receive",
        "cache import system.rkllmd-cache",
        (argument("file", "the file to read"),
         option("--model", "for this model; the exported name when absent", metavar="NAME"),
         CONFIG),
    ),
    Command("session list", "the conversations that the daemon remembers", "sessions:show_all",
            "session list"),
    Command("session show", "a conversation", "sessions:show", "session show kitchen", (SESSION,)),
    Command("session reset", "forget a conversation", "sessions:reset", "session reset kitchen",
            (SESSION,)),
    Command(
        "watch", "what happens in the daemon, until Ctrl-C", "news:watch", "watch cache model",
        (argument("kind", "only these: state, model, cache, queue, thermal, log", nargs="*",
                  metavar="KIND"),
         option("--level", "the least important lines of the log (default: %(default)s)",
                choices=["debug", "info", "warning", "error"], default="warning")),
    ),
    Command(
        "top", "what the daemon and the board do, live", "top:top", "top",
        (option("--interval", "seconds between looks (default: %(default)s)",
                type=number(float, 0), default=1.0, metavar="SECONDS"),
         option("--count", "leave after so many looks", type=number(int, 0), default=0,
                metavar="N")),
    ),
    Command(
        "bench", "first tokens, speed and cancelling, measured", "bench:bench",
        "bench --runs 5 --plot bench.svg",
        (MODEL,
         option("--compare", "two models in turns, side by side, in place of --model", nargs=2,
                metavar=("A", "B")),
         option("--runs", "how often each is measured (default: %(default)s)",
                type=number(int, 1), default=5, metavar="N"),
         option("--plot", "write a plot, as SVG", type=ending(".svg"), metavar="FILE.svg")),
    ),
    Command("reload", "read the configuration, models and prompts again", "status:reload",
            "reload"),
    Command("config show", "the settings in effect, and where they come from", "settings:show",
            "config show", (CONFIG,)),
    Command("config check", "whether the configuration is right", "settings:check",
            "config check --config etc/rkllmd.yaml", (CONFIG,)),
    Command(
        "log-level", "show or set what is written to the journal, until a reload",
        "status:log_level", "log-level debug",
        (argument("level", "the least important lines; shown when absent", nargs="?",
                  choices=["debug", "info", "warning", "error"]),),
    ),
    Command(
        "doctor", "look for problems, and how to mend them", "doctor:doctor", "doctor",
        (CONFIG,
         option("--root", "look at a copy of another board's files", default="/",
                metavar="FOLDER"),
         option("--timeout", "for an answer of the daemon (default: %(default)s)",
                type=number(float, 0.1), default=30, metavar="SECONDS")),
    ),
    Command(
        "call", "any operation, its replies as JSON lines", "status:call",
        "call tokenize text=hello",
        (argument("op", "such as model.list; `call help` has all of them"),
         argument("members", "VALUE as JSON, or a text", nargs="*", metavar="KEY=VALUE")),
    ),
    Command(
        "completion", "what a shell needs to complete commands", "completion:completion",
        "completion bash >/etc/bash_completion.d/rkllmctl",
        (argument("shell", "which", choices=["bash", "zsh"]),),
    ),
)  # fmt: skip

GROUPS = {
    "model": "models: list, show, load, unload, verify",
    "cache": "prompt caches: list, show, create, build, delete, verify, export, import",
    "session": "conversations: list, show, reset",
    "config": "the configuration: show, check",
}
