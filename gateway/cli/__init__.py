"""The command line ``callgate`` (CONTRACT 2)."""

import sys


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] == ["--version"]:  # the rooms that commands stand on take a second to import, a version none
        from gateway.config.version import VERSION

        sys.stdout.write(f"callgate {VERSION}\n")
        return
    from gateway.cli.app import app

    app()
