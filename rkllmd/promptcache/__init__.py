"""The stored states of models after their prompts: what they are, if they fit, how they last.

`fingerprint` says what makes one state different from another;
`entry` is the format on the disk; `store` reads and writes entries so that no crash leaves a mix
(`folder` has the steps, `root` the locks, `disk` every call); `eviction` chooses what has to go and
`room` lets it go; `index` finds the longest stored prefix of a prompt; `learn` notices prompts that
clients keep sending; `findings` remembers what models turned out to be unable to do. It imports no
asyncio; what reads or writes files blocks.
"""
