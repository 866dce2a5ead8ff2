"""The HTTP side of the gate, and the operator's desk that it shares with the command line."""
