"""The benchmark: a real gate between two SIPp processes on one machine, and Kamailio + cnxcc in the same place.

Absolute times wander by a fifth from run to run; what counts is what two subjects need in one run, under the same
scenarios, measured the same way: processor time from ``/proc``, moments from SIPp's message traces at both ends.
"""
