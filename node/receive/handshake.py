"""The acceptor's part of a TLS handshake, bounded in time, and only with those who may call at all."""

from __future__ import annotations

import socket
import ssl

from node import tls
from node.pdu_guard import BrokenPdu, PeerGone, PeerSilent


def begin(sock: socket.socket, context: ssl.SSLContext, known: bool, seconds: float) -> socket.socket:
    """The TLS socket of a connection whose first byte is one of TLS; nothing is read yet.

    `known`: whether any peer may call from its address. Raises PeerSilent when nothing comes for `seconds`, BrokenPdu
    for plain text, NoHandshake for who may not call, PeerGone when the connection ends.
    """
    try:
        sock.settimeout(seconds)
        first = sock.recv(1, socket.MSG_PEEK)
        if not first:
            raise PeerGone("the peer closed the connection")
        if first[0] != tls.HANDSHAKE:
            raise BrokenPdu("it speaks plain text on the TLS port", 1)
        if not known:
            raise tls.NoHandshake("TLS: no [[peer]] may call from this address", tls.ACCESS_DENIED)
        return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
    except TimeoutError as error:
        raise PeerSilent(f"nothing came for {seconds:g} s") from error
    except OSError as error:
        raise PeerGone(f"the connection broke ({type(error).__name__})") from error


def finish(sock: socket.socket, seconds: float) -> frozenset[str]:
    """Do the handshake, within `seconds` in all however slowly the caller drips.

    Returns the names in the caller's certificate, none where it has shown none. Raises NoHandshake.
    """
    assert isinstance(sock, ssl.SSLSocket)
    try:
        sock.settimeout(seconds)
        sock.do_handshake()
        return tls.names_of(sock)
    except OSError as error:
        raise tls.NoHandshake(f"TLS: {tls.words(error)}") from error
