"""A worker: one event loop that hears SIP, carries calls, and performs what the call machine wants done."""
