"""The load tester: a second, independent pair of ears on the gate.

It plays callers and callees itself, times what each side hears, and checks the money from outside.  It shares no
state with the gate and reads SIP with its own small reader, so that a fault of the gate's grammar is not mirrored
here.  ``callgate-load`` is its command line, ``python -m loadtest.bench`` the benchmark with SIPp at both ends.
"""
