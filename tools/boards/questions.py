"""What is not known of the vendor's runtime and its boards, and what of a report answers it.

Pure: facts in, sentences out. A fact is named EXPERIMENT.NAME; `EXPERIMENT.end` says how it ended.
A question that no fact answers is printed with what to do by hand.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Facts = Mapping[str, Any]
NO_RUN = "install the runtime and a .rkllm model, and run this again"


@dataclass(frozen=True, slots=True)
class Question:
    """One of them."""

    about: str
    asked: str
    answer: Callable[[Facts], str | None] = lambda _: None
    by_hand: str = NO_RUN

    def answered(self, facts: Facts) -> str | None:
        """The answer; None where a fact that it needs was not found."""
        try:
            return self.answer(facts)
        except (KeyError, TypeError):
            return None


def _end(experiment: str) -> Callable[[Facts], str]:
    return lambda facts: f"the process {facts[f'{experiment}.end']}"


def _cold(facts: Facts, name: str, whole: str) -> str:
    """Whether a run computed its prompt again, by the count of a cold one."""
    again = facts[name] >= facts[whole]
    return f"{'no' if again else 'yes'}: {facts[name]} tokens were computed, cold {facts[whole]}"


QUESTIONS = (
    Question(
        "binding", "Does the library copy RKLLMCallback, or keep the pointer?",
        by_hand="nothing depends on it here: it is kept as long as the handle; only the vendor can"
        " tell",
    ),
    Question(
        "binding", "Are RKLLMLoraAdapter and RKLLMCrossAttnParam in 1.3.1 as they were in 1.3.0?",
        by_hand="compare the release's rkllm.h with rkllmd/native/rkllm.py, where they are taken"
        " over from 1.3.0",
    ),
    Question("version", "Does this release carry its version where others do?",
             lambda f: f"{f['library.version']}, from `{f['library.marks']}`",
             "install the runtime, and run this again"),
    Question("version", "Which functions does it export that are not in our tables?",
             lambda f: f["library.unknown_functions"] or "none",
             "install the runtime, and run this again"),
    Question("version", "Which environment variables does it know, and what do they do?",
             lambda f: f"{f['library.variables']}; for what they do set one with `systemctl edit"
             " rkllmd`, and read the journal",
             "install the runtime, and run this again"),
    Question("version", "Do the lines at loading go to stdout or to stderr?",
             lambda f: f"{f['events.stdout_lines']} lines to stdout, {f['events.stderr_lines']} to"
             " stderr"),
    Question("callback", "Is the callback on the thread that called rkllm_run?",
             lambda f: "yes" if f["events.own_thread"] else "no"),
    Question("callback", "Do WAITING events carry text?",
             lambda f: f"{f['events.states']['WAITING']} of them had {f['events.waiting_bytes']}"
             " bytes together"),
    Question("callback", "Does the end of an answer come as an event with empty text?",
             lambda f: f"{f['events.empty_texts']} of {f['events.states']['NORMAL']} events were"
             " empty"),
    Question("callback", "Is perf.generate_tokens one less than the tokens of the events?",
             lambda f: f"{f['events.generated']} against"
             f" {f['events.states']['NORMAL'] + f['events.states']['WAITING']}"),
    Question("callback", "Is rkllm_is_running 1 during a run?",
             lambda f: f"during: {f['events.running']}, after: {f['events.running_after']}"),
    Question("callback", "What does rkllm_run return when it has called back with ERROR?",
             by_hand="look in the journal for `engine_error` after some weeks of use"),
    Question("limits", "Does a prompt beyond the window return -1, without a callback?",
             lambda f: f"{f['too_long.status']} with {f['too_long.calls']} callbacks; the next run"
             f" returned {f['too_long.next']}"),
    Question("limits", "What does n_keep -1 mean?",
             by_hand="write past the window with RKLLM_LOG_LEVEL=2, with n_keep 0 and -1, and"
             " compare the token lists in the log"),
    Question("reuse", "Is a prompt that the last run had computed again (keep_history 0)?",
             lambda f: f"first {f['reuse.first']}, the same {f['reuse.same']}, another question"
             f" {f['reuse.other']} tokens"),
    Question("reuse", "Is nothing held after rkllm_clear_kv_cache?",
             lambda f: f"{f['reuse.held_after_clear']} tokens held, {f['reuse.after_clear']}"
             " computed anew"),
    Question("reuse", "Does a model of the Qwen3.5 kind reuse and save on 1.3.1?",
             by_hand="copy one to the models folder; `rkllmctl model show NAME` says `no caches`"
             " where it cannot"),
    Question("reuse", "What does keep_history 1 do with a loaded file and a full prompt?",
             by_hand="nothing depends on it here: keep_history is always 0"),
    Question("reuse", "Is an answer the same after an unrelated one (keep_history 0)?",
             by_hand="`rkllmctl ask --temperature 0` of one question, of quite another, and of the"
             " first again; on 1.2.3 the text before was said to show through"),
    Question("state file", "Is the file there when rkllm_run returns?",
             lambda f: "yes" if f["state.there"] else "no"),
    Question("state file", "Is it written in one step?",
             lambda f: f"sizes seen while it was written: {f['state.sizes']}, of"
             f" {f['state.inodes']} inodes"),
    Question("state file", "What are its first words and its last bytes?",
             lambda f: f"words {f['state.words']}, footer {f['state.footer']}, {f['state.bytes']}"
             f" bytes for {f['state.words'][2]} tokens"),
    Question("state file", "Is a loaded prefix used?",
             lambda f: _cold(f, "state.loaded", "state.whole")),
    Question("state file", "Does a second run after one load still have it?",
             lambda f: _cold(f, "state.second", "state.whole")),
    Question("state file", "Does it survive rkllm_clear_kv_cache?",
             lambda f: _cold(f, "state.cleared", "state.whole")),
    Question("state file", "Is it the same after loading and saving?",
             lambda f: "yes" if f["state.same_bytes"] else "no"),
    Question("state file", "What does a file that is none do?",
             lambda f: f"load returned {f['foreign.load']}, and {_end('foreign')(f)}"
             if "foreign.load" in f else _end("foreign")(f)),
    Question("state file", "What does a torn file do?",
             lambda f: f"load returned {f['torn.load']}, and {_end('torn')(f)}"
             if "torn.load" in f else _end("torn")(f)),
    Question("state file", "What does another model's file do?",
             by_hand="in a second cache folder, copy one model's state over another's of the same"
             " size, and look at `rkllmctl cache verify`"),
    Question("template", "How is a chat template taken from an external file?",
             by_hand="nothing depends on it here: the template is switched off; only the vendor can"
             " tell"),
    Question("template", "Are special tokens that a prompt's text has taken for what they are?",
             by_hand="set RKLLM_LOG_LEVEL=2 with `systemctl edit rkllmd`, ask something, and look"
             " in the journal for the prompt's tokens: `<|im_start|>` is one of them, not several"),
    Question("tokens", "Does a prompt of tokens get a token in front?",
             lambda f: f"given {f['tokens.given']}, computed {f['tokens.prefilled']}"),
    Question("hidden layer", "Is the last hidden layer given?",
             lambda f: f"rkllm_run returned {f['hidden.status']}; rows and widths"
             f" {f['hidden.rows']}"),
    Question("images", "Is a row of an image as wide as the last hidden layer?",
             by_hand="send an image that the vendor's demo takes (models/README.md); a refusal"
             " names both widths"),
    Question("images", "Does perf.prefill_tokens count the rows of an image?",
             by_hand="send an image with `use_cache: false`; where it does, `usage.prompt_tokens`"
             " is larger than the number of rows"),
    Question("images", "Does 1.3.0 compare images, or only their tokens?",
             by_hand="nothing depends on it here: nothing with an image is kept"),
    Question("images", "Is the place of a sound in a prompt `<audio>`?",
             by_hand="with 1.3.1, send a sound and ask what it is"),
    Question("abort", "How long does a prefill go on after an abort?",
             lambda f: f"aborted after 100 ms it took {f['abort.aborted_ms']} ms, whole"
             f" {f['abort.whole_ms']} ms; the next run returned {f['abort.next']}"),
    Question("abort", "What does a run return that was paused, and does FINISH come?",
             lambda f: f"{f['pause.status']}, events {f['pause.states']}"
             if "pause.status" in f else _end("pause")(f)),
    Question("compatibility", "Has the runtime to be as new as the toolkit that made a model?",
             by_hand="`rkllmctl model load NAME` of models made by older and newer toolkits; the"
             " journal names the toolkit"),
    Question("compatibility", "What does a model for another chip do at loading?",
             by_hand="`rkllmctl model load NAME` of such a model, and the journal"),
    Question("memory", "Does a second model without enough NPU memory end the process?",
             by_hand="`rkllmctl model load NAME` of models that are too large together; `model"
             " show` has the reason"),
    Question("board", "Which of the driver's files can be read without root?",
             lambda f: f["board.files"], "run this on a board"),
    Question("board", "Does the driver tell its version through the DRM node?",
             lambda f: f["board.drm"], "run this on a board"),
    Question("board", "What are the NPU's nodes, their groups and modes?",
             lambda f: f["board.nodes"], "run this on a board"),
    Question("board", "Does the load reading name every core while a model runs?",
             lambda f: f"highest readings: {f['board.load']}", "`rkllmctl top` during an answer"),
    Question("board", "Has the CPU the instructions that a release was built for (SVE)?",
             lambda f: f["board.features"], "run this on a board"),
)  # fmt: skip
