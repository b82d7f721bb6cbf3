"""How many files the daemon may have open, and so how many clients.

Where no descriptor is left, folders seem empty and no worker can be started. So the limit is raised
as far as it may be, and clients are refused before it is met.
"""

import resource
from dataclasses import replace

from rkllmd.config.settings import Config

RESERVED = 256
"""For workers, folders, files, and clients that are told that they are too many."""


def raise_limit(config: Config) -> int:
    """Allow as many descriptors as all clients need, where that is allowed; how many there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVED + sum(_clients(config))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft if soft != resource.RLIM_INFINITY else wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def fit_clients(config: Config, descriptors: int) -> tuple[Config, str]:
    """The settings with as many clients as there are descriptors for, and what to say of it. Pure.

    Below twice the reserve half of the descriptors are for clients.
    """
    clients = _clients(config)
    room = max(descriptors - RESERVED, descriptors // 2)
    if sum(clients) <= room:
        return config, ""
    lines, http, wyoming = (max(one * room // sum(clients), 1) for one in clients)
    fitted = replace(
        config,
        socket=replace(config.socket, connections_max=lines),
        http=replace(config.http, connections_max=http),
        wyoming=replace(config.wyoming, connections_max=wyoming),
    )
    note = (
        f"only {descriptors} files may be open, so only {lines} clients are served on the socket,"
        f" {http} over HTTP and {wyoming} over Wyoming; raise the limit (LimitNOFILE, ulimit -n)"
    )
    return fitted, note


def _clients(config: Config) -> tuple[int, int, int]:
    return (
        config.socket.connections_max,
        config.http.connections_max,
        config.wyoming.connections_max,
    )
