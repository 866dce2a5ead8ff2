"""``python -m gateway.cli``: the command line without its console script, as ``demo`` starts its own ``serve``."""

from gateway.cli import main

if __name__ == "__main__":
    main()
