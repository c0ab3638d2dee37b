"""A connection to a peer, over TLS where it wants it, before anything of DICOM is said."""

from __future__ import annotations

import socket

from node import tls
from node.errors import Away, ConfigError
from node.sections import Node, Peer


def call(node: Node, peer: Peer, where: str) -> socket.socket:
    """A connected socket that sends at once (TCP_NODELAY). `where`: the peer in words, for the reason. Raises Away."""
    try:
        connection = socket.create_connection((peer.host, peer.port), timeout=node.acse_timeout)
    except OSError as error:
        raise Away(f"{where} cannot be reached: {error.strerror or error}") from error
    try:
        if peer.tls:
            context = tls.client_context(node)  # anew: a renewed certificate counts from the next association on
            connection = tls.knock(connection, context, peer.host, peer.certificate_names)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (tls.NoHandshake, ConfigError) as error:
        connection.close()
        raise Away(f"{where} cannot be reached over TLS: {error}") from error
    except OSError as error:
        connection.close()
        raise Away(f"{where} cannot be reached: {error.strerror or error}") from error
    return connection
