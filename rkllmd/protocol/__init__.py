"""The socket protocol, version 1: the text of record.

Programs speak to the daemon over a Unix socket, one JSON object per line, and need no library and
no handshake for it. `messages` has what can be said, `codec` turns lines into it and back,
`framing` finds the lines, `strictjson` says which JSON is taken, `schema` gives all of it as JSON
Schema (`help`).

Framing
    A stream socket, `/run/rkllmd/rkllmd.sock` when installed. Text is UTF-8. A message is one JSON
    object on one line that ends with a newline; a carriage return before it and lines of blanks are
    ignored. The last line may lack its newline when the client ends its side of the stream.

    There is no greeting: the client speaks first. It may have many requests open, up to a bound
    (`queue_full` names it); their replies interleave and are told apart by `id`.

    Input lines have at most 4 MiB (`hello` names the bound). After a longer one comes
    `line_too_long`, then the ends of what is open, then the end of the stream.

    Output lines have at most 32 KiB, newline included, so that readers that stop at 64 KiB work:

        delta      a long text comes as several lines
        sentence   likewise, with the same `n`
        done       `text` is left out and `"truncated":true` said; the `delta` lines have the text
        error      `details` are left out, and `message` is cut

    Two events are never cut, since half an object helps no reader: `ok` and `tool_call` are as
    long as what was asked for, each on one line, so that `jq 'select(.event=="ok").embeddings'`
    always sees everything. `ok` ends at 64 MiB (`bad_request`: ask for less). `help`, `hello`,
    `ping` and short lists stay below 32 KiB; a reader with a bound embeds few texts at a time.

    Half-close (end of the client's side) means no more requests: what is open is finished, sent,
    and the connection closed. A client that is gone (both sides closed, or killed) cancels
    everything it has open, at once, also during a prefill in which nothing is written.

    A client that does not read slows down only its own requests. When its outbox is full and it
    reads nothing for a while (`stall_s`) it is told `slow_client`, with id null, and loses its
    connection. The daemon also reads nothing from a client whose outbox is full.

    The process, user and group at the other end are taken from the socket (SO_PEERCRED); limits and
    fairness go by user.

What is taken as JSON
    A request is an object. `bad_json` answers everything that is none or that readers disagree
    about: bytes that are no UTF-8, a byte order mark, a name twice in an object (at any depth),
    `NaN` and `Infinity`, numbers beyond a double's range or of more than 400 characters, a `\\u`
    escape of half a surrogate pair, the character NUL, and more than 64 levels of nesting. Its
    `id` is the request's when that stood before the problem on the line, else null.

    Members that are unknown are ignored; null is the same as absent, except inside `id`. Names that
    begin with `x_` are for experiments. Integers are written without a fraction.

Requests
    {"id": any, "op": text, ...}

    `id` is any JSON value of at most 1024 bytes and comes back as it was written, byte for byte; an
    absent one comes back as null. While a request is open no other one of its connection may have
    its id (`bad_request`), requests without an id excepted; after the final line it is free.

    Every reply has `id` and `event`. Exactly one line per request has `"final":true`, and it is
    the last: `ok`, `done` or `error`. A request that is cancelled has its own final line too.
    Lines about the connection as a whole (`line_too_long`, `slow_client`, too many connections)
    have id null.

    op                members (? optional)                    replies
    hello                                                     ok{server, version, protocol, ops,
                                                              features, limits, models}
    help              about? (an operation)                   ok{schema}
    ping                                                      ok
    status                                                    ok{state, ready, version, uptime_s,
                                                              queue, models, npu, caches,
                                                              building, last, totals, notes}
    reload                                                    ok{applied, needs_restart}
    log.level         level? (debug info warning error)       ok{level}
    watch             kinds? (state model cache queue         event* until cancelled, then ok
                      thermal log; all when absent), level?
                      (of the log; warning when absent)
    chat              text or messages; session?, system?,    queued* progress* delta* sentence*
                      tools?, tool_choice?, language?,        tool_call* then done
                      thinking?, the members of generation
    complete          prompt, the members of generation       as chat
    prefill           as chat; text may be a part of what     ok{prompt_tokens, cached_tokens, ms,
                      will be said, or absent                 superseded, warnings}
    cancel            target (an id) or session or all:true   ok{cancelled}
    embed             input (a text or a list), model?,       ok{embeddings, dimensions, usage}
                      pooling? (last mean cls), normalize?
    tokenize          text, model?                            ok{tokens, count}
    logits            prompt, model?, top? (20)               ok{logits, vocabulary, prompt_tokens}
    session.list                                              ok{sessions}
    session.show      session                                 ok{...}
    session.reset     session                                 ok{...}
    session.truncate  session; spoken (text) or chars         ok{kept}
    model.list                                                ok{models}
    model.show        model?                                  ok{models}
    model.load        model                                   progress* then ok
    model.unload      model                                   ok
    cache.list        model?                                  ok{caches}
    cache.show        model?, name?                           ok{caches}
    cache.create      model, name, prompt, overwrite?         progress* then ok{cache}
    cache.build       model, name?, force?                    progress* then ok{built, skipped,
                                                              failed}
    cache.delete      model, name                             ok{rebuilt} (a file's prompt is)
    cache.verify      model?, name?                           ok{verified, broken}

    The members of generation: model?, use_cache?, format?, max_tokens?, temperature?, top_p?,
    top_k?, repeat_penalty?, frequency_penalty?, presence_penalty?, seed?, stop?, speech?,
    max_sentences?, deadline_ms?, stream? ("sentences", "tokens", "both", false; true is "both"),
    priority? ("voice", "normal", "background").

    What `help` is asked about is `about`, since `op` is the request's own.

Events
    queued      position, eta_ms?
    progress    phase (load prefill build), done, total, eta_ms?; at once when a request is cold,
                then at most every 400 ms
    delta       text (whole characters), channel:"thinking" only when thinking was asked for
    sentence    n, text (trimmed, free of Markdown), language?
    tool_call   call_id, name, arguments (an object)
    event       kind, data: what a watch tells
    done        text, reason (stop length tool_calls cancelled deadline), model, session,
                usage{prompt_tokens, cached_tokens, completion_tokens, cache_hit, cached_prompts},
                timing{queue_ms, load_ms, prefill_ms, ttft_ms, first_sentence_ms?, last_token_ms?,
                decode_ms, total_ms, tokens_per_s}, warnings, truncated?, final
    error       code, message, hint, retryable, details?, final
    ok          what the operation's line above names, final

    Members marked `?` are absent when there is nothing to say. A number that is not finite is null.

Error codes, a closed list
    `hint` is one sentence that says what to do next; `retryable` says whether the same request can
    succeed later. `bad_request` has the member, what was found and what is allowed in its details.

    the request   bad_json line_too_long unknown_op bad_request unsupported context_overflow
                  cache_exists permission_denied
    not here      unknown_model unknown_session unknown_cache
    not now       not_ready queue_full deadline slow_client shutting_down
    the engine    out_of_memory load_failed engine_error
    the worker    engine_crashed engine_hung
    the disk      storage_full
    a mistake     internal

Meaning
    Caches. Where a request has no system prompt of its own, the model's prompt `system` and its
    cache apply by themselves. `use_cache` names another prompt with its cache. A name that does not
    exist is no failure: the answer comes with the prompt `system` and without a cache, `warnings`
    says so, and `cache_hit` is false. `use_cache:false` changes nothing about the words: they are
    all computed anew, and `cached_tokens` is 0. With a system prompt of its own, the longest stored
    prefix that the request begins with is used; a name of another prompt is in `warnings`.
    `complete` has no system prompt; there `use_cache` with a name puts that prompt's rendered
    prefix before the text.
    `cached_tokens` is what the engine did not have to compute, as it measured; `cached_prompts`
    names the caches that took part.

    Sessions. The daemon keeps the history, so a client sends only the new turn. A session that was
    not used for a while (330 s) is forgotten; its name then begins a new one. `messages` together
    with `session` replaces the history, but messages that are all a tool's answers go on with it.
    Without `session` nothing is kept. What is asked while a `chat` of the same session is open
    waits (`queued`) until that has ended: `chat`, `prefill` and `session.truncate` go on with what
    it left. `cancel` and `session.reset` wait for nothing.

    Honest parameters. What an engine cannot do is refused with `unsupported` where the answer
    would be wrong without it (`format`, `tools` with tool_choice "required" or a name), and else
    named in `warnings`.

    Forms. With `format` the answer is JSON that fits the schema (`"json"`: any object); with
    tool_choice "required", or `{"name": …}`, it is one call of a tool with arguments that fit. An
    answer that `max_tokens` or the context cuts off is incomplete and has the reason `length`, and
    a call that is cut off is none. With `format` and tool_choice "auto" the answer is one or the
    other. `stop` has no effect then, `thinking` is refused, and so is a schema that asks for what
    cannot be kept, with the reason. Engines with a grammar have the capability `grammar`.

    Voices. With `speech` the deltas are cut and cleaned for speaking; `sentence` lines always are.
    `max_sentences` ends the answer where that sentence ends, with `reason` "length": nothing behind
    it is told or remembered, and the engine stops. Sentences are counted as they are spoken, a
    clause that is told early is none. Calls of tools behind the end are not made. The times in
    `timing` run from the arrival of the request: its turn came after `queue_ms`, model and state
    were loaded in `load_ms`, the prompt was computed in `prefill_ms` by the engine's clock; the
    first token, the first sentence and the last token were told after `ttft_ms`,
    `first_sentence_ms` and `last_token_ms`.

    Cancelling stops the engine, in decode and in prefill. Where an engine cannot be stopped in
    prefill, the client's answer ends at once all the same.

    Priorities. voice goes before normal, normal before background. `prefill` and cache builds are
    background: anything else interrupts them, and they begin again later. A newer `prefill` or
    `chat` of the same session takes the place of an older `prefill`.

    Deadlines. `deadline_ms` is for the first token; a request that cannot make it fails with
    `deadline` as soon as that is known.

    Images and sounds. The content of a user's message may be a list of parts: {"type":"text",
    "text":...}, {"type":"image_embedding", "data":...} and {"type":"audio_embedding", ...}. An
    embedding is what the model's own encoder made of a picture or a sound; the encoder is not part
    of the daemon, and a picture itself is refused. It is a NumPy file (.npy) of little-endian
    float32 with the shape (rows, width): a row takes the place of one token, and the width is the
    model's (of an encoder with several outputs, such as Qwen3-VL's, they stand side by side).
    `data` is that file in base64; `path`, on this socket only, the absolute path of a regular file,
    no link, that the daemon can read and that is the client's own or readable by everybody. All
    images of a request have one size, and so have all sounds; together they have at most 32 MiB.
    What does not fit is `bad_request` and never reaches the engine; a model without the capability
    `images` or `audio` says `unsupported`. Nothing with an image is kept: it is computed in every
    run, only cached text before the first one is used, `prefill` stops there, and a session
    remembers `(image)` in its place.

    Logits. What may follow a text that is computed anew, to compare models and conversions by:
    `logits` has {token, logit} for the likeliest, best first. Engines say in their capability
    `logits` whether they can; the NPU's takes at most 1024 bytes.

    Tools. The client answers a `tool_call` with another `chat` in the same session whose messages
    are [{"role":"tool","call_id":...,"content":...}].

    Watching. Every event has `kind` and `data`. Who begins to watch hears first how `state` and
    `queue` are; a watcher that falls far behind misses the oldest news and is told how many
    (`missed`).

        state     state
        model     model, state, reason
        cache     model, name, state, reason
        queue     model, running (a turn or null), waiting (turns, the next one first); a turn is
                  ticket, priority
        thermal   celsius (by sensor), hertz (by clock); read every 5 s while somebody watches, and
                  told when it is another
        log       level, room, message; nothing that is below the log's own level (log.level)

    Shutdown. New requests are refused with `shutting_down`, open ones may end until a deadline, are
    then cancelled and told so, and the connection closes.

One-liners
    S=/run/rkllmd/rkllmd.sock
    echo '{"op":"chat","text":"hello"}' | socat -t60 - UNIX-CONNECT:$S |
      jq -r 'select(.event=="done").text'
    echo '{"op":"chat","text":"hello"}' | nc -NU $S |
      jq -rj --unbuffered 'select(.event=="delta").text'
    echo '{"op":"chat","text":"hello"}' | socat -t60 - UNIX-CONNECT:$S |
      jq -r --unbuffered 'select(.event=="sentence").text' | while read -r s; do say "$s"; done
    echo '{"op":"cancel","session":"kitchen"}' | nc -NU $S
    echo '{"op":"help","about":"chat"}' | nc -NU $S | jq .schema
"""
