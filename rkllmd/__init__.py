"""Keeps local language models loaded on Rockchip boards and serves them to voice assistants."""

__version__ = "0.1.0"
