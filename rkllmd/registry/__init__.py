"""The models and prompts that are on the disk: which there are, and what is wrong with them.

`models` scans the folders of models, `identity` tells one model file from another without reading
it whole, `prompts` scans the administrator's prompt texts. All of it blocks on the disk, so the
loop calls it in a thread. Nothing here raises for what it finds: it becomes a warning or the reason
why a model is broken, and the rest goes on.
"""
