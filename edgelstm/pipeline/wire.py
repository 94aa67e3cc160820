"""The socket under the MQTT client, through which messages go past it in bulk.

paho-mqtt reads one packet at a time, with three system calls and some thirty objects each. It keeps what it is good
at: connecting, subscribing, keeping alive, coming back. Messages and their confirmations, of which there are
thousands, are read and written here, a few hundred at a time. paho takes any object with an SSLContext's
`wrap_socket` (`Client.tls_set_context`): that is where the socket comes in.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable

from edgelstm.pipeline.packets import Packets, split

_PIECE = 1 << 18
_BACKLOG = 1 << 20  # bytes that may wait for the broker before `write` does
_ALIVE = 5.0  # seconds after which paho is told that something came
_PINGRESP = b"\xd0\x00"


class Wire:
    """A connected socket. paho's thread reads; any thread writes.

    Args:
        under: the socket, encrypted or not.
        number: of the connection.
        five: of MQTT 5.
        take: is given messages and confirmations, in paho's thread.
        may_read: waits a moment until there is room for messages; whether there is.
    """

    def __init__(
        self, under: socket.socket, number: int, five: bool, take: Callable[[Packets], object],
        may_read: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._under, self.number, self._five = under, number, five
        self._take, self._may_read = take, may_read
        self._lock = threading.Lock()  # an encrypted socket must not be read and written at once
        self._came = bytearray()
        self._needed = 2
        self._others = b""  # for paho
        self._backlog = bytearray()
        self._told = time.monotonic()
        self.closed = False

    # What paho calls.

    def recv(self, size: int) -> bytes:
        """Bytes of packets that are paho's.

        Raises:
            BlockingIOError: there are none.
            OSError: the connection is lost.
        """
        if not self._others and not self._read():
            return b""
        part, self._others = self._others[:size], self._others[size:]
        return part

    def send(self, data: bytes | bytearray) -> int:
        """Whole packets; what the socket does not take at once goes out later."""
        self.write(data)
        return len(data)

    def pending(self) -> int:
        """Bytes that came and wait."""
        return len(self._others) + (self._under.pending() if isinstance(self._under, ssl.SSLSocket) else 0)

    def close(self) -> None:
        """Send what waits, if the broker takes it, and close."""
        if not self.closed:
            self.drain(0, 1.0)
        self.closed = True
        self._under.close()

    def fileno(self) -> int:
        """See `socket.socket.fileno`."""
        return self._under.fileno()

    def settimeout(self, seconds: float | None) -> None:
        """See `socket.socket.settimeout`."""
        self._under.settimeout(seconds)

    def setblocking(self, blocking: bool) -> None:
        """See `socket.socket.setblocking`."""
        self._under.setblocking(blocking)

    def do_handshake(self) -> None:
        """See `ssl.SSLSocket.do_handshake`."""
        if isinstance(self._under, ssl.SSLSocket):
            self._under.do_handshake()

    # What the bridge calls.

    def write(self, data: bytes | bytearray, seconds: float = 0.0) -> bool:
        """Whole packets; waits so long where the broker is slow. Whether the connection still stands.

        What could not go out when the connection is lost is lost with it.
        """
        with self._lock:
            self._backlog += data
        return self.drain(_BACKLOG, seconds)

    def drain(self, most: int = _BACKLOG, seconds: float = 0.0) -> bool:
        """Send until no more than so many bytes wait; whether the connection still stands."""
        end = time.monotonic() + seconds
        while not self.closed:
            try:
                with self._lock:
                    if self._backlog:
                        del self._backlog[: self._under.send(self._backlog)]
                    left = len(self._backlog)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                left = len(self._backlog)
            except OSError:  # paho finds out when it reads
                return False
            rest = end - time.monotonic()
            if left <= most or rest <= 0:
                return True
            try:
                select.select([], [self._under], [], min(rest, 0.1))
            except (OSError, ValueError):  # it was closed meanwhile
                return False
        return False

    def _read(self) -> bool:
        """Take what came; False at the end of the connection."""
        if not self._may_read():
            raise BlockingIOError
        try:
            with self._lock:
                piece = self._under.recv(_PIECE)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        if not piece:
            return False
        self.drain()
        self._came += piece
        if len(self._came) < self._needed:
            raise BlockingIOError
        now = time.monotonic()
        found = split(bytes(self._came), self._five, now, self.number)
        del self._came[: found.used]
        self._needed, self._others = found.needed, found.others
        if found.messages or found.confirmed:
            self._take(found)
        if now - self._told > _ALIVE:  # else paho, which saw nothing, believes that the broker is gone
            self._told = now
            self._others += _PINGRESP
        if not self._others:
            raise BlockingIOError
        return True


class Context:
    """Looks like an SSLContext to paho, and puts a `Wire` around its socket; `context` None: it is not encrypted."""

    check_hostname = True  # what `context` does, if it is there; paho must not do so again

    def __init__(self, context: ssl.SSLContext | None, wrap: Callable[[socket.socket], Wire]) -> None:
        self._context, self._wrap = context, wrap

    def wrap_socket(
        self, sock: socket.socket, server_hostname: str = "", do_handshake_on_connect: bool = False
    ) -> Wire:
        """See `ssl.SSLContext.wrap_socket`."""
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return self._wrap(sock)
        return self._wrap(self._context.wrap_socket(sock, False, do_handshake_on_connect, True, server_hostname))
