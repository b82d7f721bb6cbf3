"""The vendor's library librkllmrt.so, bound by tables. Its names stay in this room.

`rkllm` is the header retold as data, `structs` gives that data sizes, offsets and ctypes classes,
`version` reads which release a file is before it is loaded, `quirks` says what is known to be wrong
with a release, `library` finds, loads and binds it, `handle` owns one loaded model's handle with
everything that the library may still look at.
"""
