"""What keeps the gate from Redis, in one line that says what to do; the hot path and redis-py fail in different words.

Nothing here decides anything: Redis is away all the same.  But a certificate that nobody trusts, a password that is
wrong and a server that does not run are mended in different places, and whoever reads the line has to find the one.
"""

import ssl
from collections.abc import Iterator

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from gateway.credit.address import Tls

_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNEXPECTED_EOF")
_OWN_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "UNKNOWN_CA", "BAD_CERTIFICATE")
_SIGN_IN = ("WRONGPASS", "NOAUTH", "ERR AUTH", "ERR invalid password")


def why_away(where: object, tls: Tls | None, error: BaseException) -> str:
    """Why Redis at ``where`` (which shows no secret), spoken to by ``tls``, cannot be used."""
    errors = list(_chain(error))
    if tls is not None and (unreadable := tls.unreadable()):
        return f"Redis at {where} cannot be reached: {unreadable}; mend the ssl_ options of redis.url"
    if isinstance(error, TimeoutError | exceptions.TimeoutError):
        tls_too = ", or does it not speak TLS there" if tls else ""
        return f"Redis at {where} did not answer in time: is it overloaded or stopped{tls_too}?"
    if isinstance(error, MasterNotFoundError):
        return f"the sentinels of {where} name no master: {error}"
    for each in errors:
        if isinstance(each, ssl.SSLCertVerificationError):
            return (
                f"Redis at {where} shows a certificate that is not accepted ({each.verify_message}): "
                "name the authority that signed it as ssl_ca_certs, and the server by a name that stands in it"
            )
        if isinstance(each, ssl.SSLError):
            return _why_not_tls(where, each)
        if isinstance(each, exceptions.AuthenticationError | exceptions.AuthenticationWrongNumberOfArgsError) or str(
            each
        ).startswith(_SIGN_IN):
            return f"Redis at {where} does not let the gate in ({each}): mend user and password in redis.url"
    if any(_is_hang_up(each) for each in errors):
        perhaps = "wants a certificate of the gate's, give ssl_certfile" if tls else "expects TLS, use rediss://"
        return f"Redis at {where} closed the connection ({error}): start it; where it {perhaps}"
    return f"Redis at {where} cannot be reached ({error}): start it"


def _is_hang_up(error: BaseException) -> bool:
    """It was there, and closed the connection."""
    text = str(error)
    return isinstance(error, ConnectionResetError | EOFError) or "closed by server" in text or "was lost" in text


def _why_not_tls(where: object, error: ssl.SSLError) -> str:
    text = str(error).upper()
    if any(word in text for word in _OWN_CERTIFICATE):
        return f"Redis at {where} wants a certificate of the gate's that it trusts ({error.reason}): give ssl_certfile"
    if any(word in text for word in _NOT_TLS):
        return f"Redis at {where} does not speak TLS there ({error.reason}): use redis://, or its TLS port"
    return f"Redis at {where} and the gate do not agree on TLS ({error})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it was raised for, outermost first."""
    for _ in range(10):  # a chain that is a ring would never end
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
