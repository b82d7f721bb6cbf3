"""From messages to a prompt and from an answer's text to what it means. Pure.

`template` renders messages with a model's chat template and says where the prefix ends;
`conversation` gives messages the shape that templates take; `sandbox` bounds what a template may
spend; `builtin` has the templates that are known by name; `stops` holds back what may become a stop
text; `thinking` splits thinking from the answer; `toolcalls` finds the calls in an answer, with
`loosejson` to read them and `arguments` to fit them to their schemas. For voices, `speech` takes
out what cannot be spoken, `sentences` cuts into sentences with the words of `abbreviations`, and
`deltas` cuts as speech clients want it, `limit`
ends an answer behind some sentences, and `languages` asks for the language that is spoken.
"""
