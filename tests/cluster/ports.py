"""Free ports that stay ours from the choice to the end of the cluster.

A bound socket that does not listen keeps others off the port, the kernel's own choices included,
but lets a server that allows reuse, as Java's do on Linux, bind it and listen.
"""

from __future__ import annotations

import socket

#: Loopback for IPv4 alone; the nodes have addresses of their own in 127.0.0.0/8.
HOST = "127.0.0.1"


class Ports:
    """Reserves a port for each name at its first use."""

    def __init__(self) -> None:
        self._sockets: dict[str, socket.socket] = {}

    def __getitem__(self, name: str) -> int:
        if name not in self._sockets:
            reserved = self._sockets[name] = socket.socket()
            reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            reserved.bind((HOST, 0))
        return self._sockets[name].getsockname()[1]

    def address(self, name: str) -> str:
        return f"{HOST}:{self[name]}"

    def numbers(self) -> list[int]:
        """Of all ports reserved so far."""
        return [each.getsockname()[1] for each in self._sockets.values()]

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()
        self._sockets.clear()
