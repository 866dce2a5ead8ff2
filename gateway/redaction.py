"""Secrets out of texts: the one place that knows what a secret looks like in a log line, an error or an answer.

Settings hold secrets as values that do not print themselves, but a secret also travels inside other texts: a URL in an
error of a driver, a header in a message that could not be read, a key in a reply of a payment service.  Whatever the
gate writes for people or machines to read goes through :func:`redact` first.  It rather hides too much: in a URL all
that stands before the last ``@`` is taken for user information, because people write passwords with ``/`` and ``@``
in them and the URL is then wrong, which is when it is shown.

The module does no I/O and imports nothing of the gate, so that every room may use it.
"""

import re
from typing import Final

HIDDEN: Final = "***"
"""Stands in the place of a secret."""

SECRET_NAME: Final = re.compile(r"password|passwd|secret|token|authorization|api_?key", re.I)
"""A key or variable whose name has one of these in it holds a secret."""

_SECRET: Final = re.compile(
    r"(?<=://)[^\s\"'<>]*(?=@)"  # user information of a URL (RFC 3986 3.2.1), or what was meant to be one
    r"|(?<=\bBearer )(?!TOKEN\b)[^\s\"',]+"  # RFC 6750 2.1; what stands for one in a hint is none
    r"|(?<=\bresponse=\")[^\"]+"  # the answer to a digest challenge (RFC 7616 3.4)
    r"|(?<=PRIVATE KEY-----)(?:[\w+/=\s]|\\n){32,}"  # a key in PEM (RFC 7468 10), whole or cut off
    r"|\b(?:[sr]k_(?:live|test)|whsec)_\w+"  # keys of Stripe, and of the webhooks it signs
)
_NAMED: Final = re.compile(  # password=… in a URL's query or a driver's words, 'password': '…' in a table that is shown
    r"""(?P<name>\b\w*(?:password|passwd|secret|token|api_?key)(?:=|["']:\s?)["']?)[^\s"'&,;)}]+""", re.I
)


def redact(text: str) -> str:
    """``text`` with HIDDEN in the place of every secret that can be recognised."""
    return _NAMED.sub(rf"\g<name>{HIDDEN}", _SECRET.sub(HIDDEN, text))
