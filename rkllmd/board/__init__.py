"""What the kernel says of the board, read and never written.

`parse` makes values of what its files contain, and says what in them is worth a remark; `reading`
knows where the files are; `drm` asks a device node, for kernels that have no file for it. Nothing
here needs root, and nothing has to be there: what a kernel does not tell is None or empty.
"""
