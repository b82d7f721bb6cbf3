"""rkllmctl, from a terminal or a script.

`table` has every command as data: its words, arguments, help and the function that runs it. The
parser (`program`), the completion and the manual page are made from it. A function's file is
imported when its command is run, so that `rkllmctl status --json` costs next to nothing.
"""
