"""Starts the worker's child process: `python -m rkllmd.worker --fd N --engine NAME`."""

from rkllmd.worker.child import main

main()
