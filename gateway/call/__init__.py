"""The B2BUA call machine: SIP events and answers of the credit store come in, SIP bytes and commands go out.

Quiet room: it decides when money is asked for, when a leg is dialled, answered and hung up; it does nothing of it.
"""
