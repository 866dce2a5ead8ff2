"""Sockets, the one clock and who may come in: bytes with the flow they came on go up, bytes for a flow come down."""
