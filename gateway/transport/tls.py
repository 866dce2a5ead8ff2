"""TLS under SIP (RFC 3261 26.3.1, RFC 5922): the cryptography of one connection, and the certificates behind it.

A :class:`Wire` turns bytes of a socket into bytes of SIP and back and touches no socket itself, so that a connection
is counted, timed and cut from its first byte on, also while it only pretends to shake hands.  :class:`Contexts` are
what wires are made from: read from files, read again when one of them changes (a renewed certificate holds for the
next connection; those that are open keep theirs), and kept as they are where the new ones do not fit together.

Both sides speak TLS 1.2 or later, without renegotiation.  A peer that we connect to must show a certificate of a known
authority with the name we look for (RFC 5922 7.3: the name of the target, not what DNS made of it).  A peer that
connects to us may be asked for a certificate as well; which trunk it is, is told by its address all the same.
"""

import contextlib
import ssl
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from gateway.config.settings import TlsSettings
from gateway.telemetry.logs import get_logger

READ_BYTES: Final = 65_536
"""Plain text taken from a wire in one step."""

VERIFY: Final = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
"""What ``sip.tls.client_certificates`` means."""

log = get_logger("transport")


class TlsError(Exception):
    """Certificate, key or authorities cannot be used; the text says which files and why."""


class Wire:
    """The TLS of one connection; raises ssl.SSLError where the peer is not one, or not the one that is wanted."""

    __slots__ = ("_in", "_out", "_ssl", "_waiting", "ended", "ready")

    def __init__(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """``server_name`` is the name or address that a peer we connect to must prove; None: the peer connected."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_name is None, server_name)
        self._waiting = bytearray()
        self.ready = False
        """The handshake is over: the peer is who it should be."""
        self.ended = False
        """The peer has said that it sends no more."""

    def begin(self) -> None:
        """Say hello, as the side that connects."""
        self._shake()

    def feed(self, data: bytes) -> bytes:
        """Take what came from the socket; the plain text in it."""
        self._in.write(data)
        if not self.ready and not self._shake():
            return b""
        plain = bytearray()
        while not self.ended:
            try:
                piece = self._ssl.read(READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                piece = b""
            plain += piece
            self.ended = not piece
        return bytes(plain)

    def write(self, data: bytes) -> None:
        """Plain text to be sent: now, or as soon as the handshake is over."""
        if self.ready:
            self._ssl.write(data)
        else:
            self._waiting += data

    def end(self) -> None:
        """Say that we send no more (RFC 8446 6.1): without it the peer cannot tell an end from a cut."""
        if self.ready:
            with contextlib.suppress(ssl.SSLError):  # it waits for the peer's own, which nobody does here
                self._ssl.unwrap()

    def take(self) -> bytes:
        """What is to be written to the socket."""
        return self._out.read()

    @property
    def waiting(self) -> int:
        """Octets that wait for the end of the handshake."""
        return len(self._waiting)

    def proves(self, name: str) -> bool:
        """Whether the peer has shown a certificate that was found good and is for this host name or address."""
        certificate = self._ssl.getpeercert() if self.ready else None
        return bool(certificate) and is_for(certificate or {}, name)

    def _shake(self) -> bool:
        try:
            self._ssl.do_handshake()
        except ssl.SSLWantReadError:
            return False
        self.ready = True
        if self._waiting:
            self._ssl.write(bytes(self._waiting))
            self._waiting.clear()
        return True


def is_for(certificate: Mapping[str, object], name: str) -> bool:
    """Whether a certificate (as ``getpeercert()`` tells it) names this host or address: a wildcard stands for one whole
    label, the leftmost, of three or more (RFC 6125 6.4.3), and the subject says nothing (RFC 9525 2)."""
    names = certificate.get("subjectAltName", ())
    assert isinstance(names, tuple)
    address = _address(name)
    if address is not None:
        return any(kind == "IP Address" and _address(value) == address for kind, value in names)
    wanted = name.rstrip(".").lower()
    parent = wanted.partition(".")[2]
    hosts = {value.rstrip(".").lower() for kind, value in names if kind == "DNS"}
    return wanted in hosts or ("." in parent and f"*.{parent}" in hosts)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.strip())  # OpenSSL ends an IPv6 address with a line break in old versions
    except ValueError:
        return None


class Contexts:
    """Certificates and authorities of ``[sip.tls]``, read anew when their files change.

    Without settings a peer is verified by the system's authorities, and nobody can connect to us.
    """

    def __init__(self, settings: TlsSettings | None) -> None:
        """Raises TlsError where the files cannot be used."""
        self._settings = settings
        self._seen = self._look()
        self.server: ssl.SSLContext | None = _server(settings) if settings is not None else None
        self.client: ssl.SSLContext = _client(settings)

    def accept(self) -> Wire:
        """The wire of a peer that connects."""
        assert self.server is not None, "the settings want a certificate where there is a tls:// address"
        return Wire(self.server)

    def connect(self, server_name: str) -> Wire:
        """The wire to a peer that must prove this name or address."""
        return Wire(self.client, server_name)

    def refresh(self) -> bool:
        """Read the files again if one of them has changed; False: nothing new, or nothing that can be used."""
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        assert self._settings is not None, "without settings there are no files"
        try:
            self.server, self.client = _server(self._settings), _client(self._settings)
        except TlsError as error:
            log.error("certificates not renewed", why=str(error), doing="the old ones are shown on")
            return False
        log.info("certificates renewed")
        return True

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_state(file) for file in _files(self._settings)) if self._settings is not None else ()


def _files(settings: TlsSettings) -> Iterable[Path]:
    yield settings.certificate
    yield settings.key
    for named in settings.names:
        yield named.certificate
        yield named.key
    if settings.ca is not None:
        yield settings.ca


def _state(file: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _server(settings: TlsSettings) -> ssl.SSLContext:
    """The certificate of ``[sip.tls]`` for all peers, but those that ask for a name with one of its own (RFC 6066 3).

    Who must show a certificate is asked before any name is known, so that is the same for all names.
    """
    context = _bare(ssl.PROTOCOL_TLS_SERVER)
    _load(context, settings.certificate, settings.key)
    context.verify_mode = VERIFY[settings.client_certificates]
    if settings.client_certificates != "none":
        _trust(context, settings.ca)
    named: dict[str, ssl.SSLContext] = {}
    for each in settings.names:
        own = named[each.server_name.lower()] = _bare(ssl.PROTOCOL_TLS_SERVER)
        _load(own, each.certificate, each.key)

    def choose(wire: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        own = named.get((name or "").lower())
        if own is not None:
            wire.context = own

    if named:
        context.sni_callback = choose
    return context


def _client(settings: TlsSettings | None) -> ssl.SSLContext:
    """Verifies whom we connect to; shows our certificate to peers that ask for one."""
    context = _bare(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, settings.ca if settings is not None else None)
    if settings is not None:
        _load(context, settings.certificate, settings.key)
    return context


def _bare(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # a key with a pass phrase would be asked for on the terminal, and stop the worker until somebody answers
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:  # ssl.SSLError too
        raise TlsError(f"certificate {certificate} with key {key}: {_why(error)}") from None


def _trust(context: ssl.SSLContext, authorities: Path | None) -> None:
    try:
        if authorities is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        else:
            context.load_verify_locations(authorities)
    except OSError as error:
        raise TlsError(f"authorities {authorities}: {_why(error)}") from None


def _why(error: OSError) -> str:
    """An error in words; OpenSSL's are made of numbers and names of its own."""
    if not isinstance(error, ssl.SSLError):
        return error.strerror or str(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return f"not a PEM file that can be read without a pass phrase ({error.reason or 'no PEM in it'})"
