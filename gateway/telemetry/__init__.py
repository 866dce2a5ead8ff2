"""Telemetry: every metric declared in one place, structured logs, and the ladder of one call's SIP messages."""
