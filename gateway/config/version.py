"""The version of the gate, as the installed distribution says it."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("callgate")
