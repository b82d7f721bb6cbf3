"""Asks a DRM render node for its driver's name and version; any user of the node may do so.

    struct drm_version {
        int version_major, version_minor, version_patchlevel;
        size_t name_len; char *name;
        size_t date_len; char *date;
        size_t desc_len; char *desc;
    };

The request is DRM_IOWR(0x00, struct drm_version). No board was at hand to try it on: it is written
from the kernel's header, and what fails is taken for "not the NPU".
"""

import fcntl
import os
import struct
from array import array
from collections.abc import Callable
from pathlib import Path

VERSION = struct.Struct("@iiiNPNPNP")
DRM_IOCTL_VERSION = (3 << 30) | (VERSION.size << 16) | (ord("d") << 8)
NAME_BYTES_MAX = 32

Ioctl = Callable[[int, int, bytearray, bool], int]


def npu_driver_version(node: Path, ioctl: Ioctl = fcntl.ioctl) -> str | None:
    """The rknpu driver's version, None where the node is somebody else's."""
    name = array("b", bytes(NAME_BYTES_MAX))
    request = bytearray(VERSION.pack(0, 0, 0, NAME_BYTES_MAX, name.buffer_info()[0], 0, 0, 0, 0))
    try:
        descriptor = os.open(node, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        ioctl(descriptor, DRM_IOCTL_VERSION, request, True)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    major, minor, patch, length, *_ = VERSION.unpack(request)
    if name.tobytes()[:length] != b"rknpu":
        return None
    return f"{major}.{minor}.{patch}"
