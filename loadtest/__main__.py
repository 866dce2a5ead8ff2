"""``python -m loadtest`` is ``callgate-load``."""

from loadtest.cli import main

main()
