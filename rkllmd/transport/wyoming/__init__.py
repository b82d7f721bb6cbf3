"""The Wyoming face: what is heard comes in as a transcript, what is to be spoken goes out.

Home Assistant and others speak with it over a Unix socket or TCP. `frames` finds events in bytes;
`asked` has the shapes of what is understood; `visitor` is one connection, and `errands` what its
events ask for and are told; `programs` is what `describe` is told, `apologies` what a voice says
when it cannot answer; `access` says who may come over TCP, and `server` holds it all.

What comes in                        what goes out
    describe                         info: one `handle` program for each model that is in memory or
                                     on its way there, the default one first
    ping{text}                       pong{text}
    select-program{name}             nothing; the model of this connection's transcripts from now on
    transcript-start, -chunk{text}   nothing; what was heard so far is prefilled
    transcript-stop                  nothing
    transcript{text, language,       handled-start{context}, handled-chunk{text}…,
               context}              handled{text, context}, handled-stop
    recognize{text}                  not-recognized{text}
    user-event{name, data, context}  user-event{name, data} of the name in the past tense:
        rkllmd.prefill                   rkllmd.prefilled{prompt_tokens, cached_tokens, ms, …}
        rkllmd.cancel                    rkllmd.cancelled{cancelled}
        rkllmd.truncate                  rkllmd.truncated{kept}
    anything else                    nothing

What fails is told as not-handled{text, context, code, message}: `text` is a sentence that can be
spoken in the language of the transcript, `code` and `message` are those of the protocol's errors.
After bytes that are no events nothing more is read, and the connection is closed.

A conversation is found by `conversation_id` of the context, else `satellite_id`, else `device_id`,
else it is the connection's own; the context that goes out has its name as `conversation_id`.
Transcripts of one connection are answered one after the other. A client that goes away cancels what
it asked for; over TCP the end of what it sends is taken for that.
"""
