"""What callers hear who have no money left: to whom they are connected, and whether they are warned before.

The gate plays nothing itself (gateway.call.announcing); these are SIP URIs of whoever does.
"""

from typing import Final, Literal

from pydantic import Field

from gateway.config.values import Table, Text, Whole

URI_PATTERN: Final = r"^(sips?:[^@\s<>\"]+@[^@\s<>\"?]+)?$"
"""With a user part, since that says which announcement it is; no headers."""


class AnnouncementSettings(Table):
    """Who tells callers of access trunks that their money is over; nobody by default."""

    refused: Text = Field(
        default="",
        pattern=URI_PATTERN,
        description="where a call is sent that is refused for want of credit, sip:USER@HOST[:PORT]; if nobody answers "
        "there, and where it is empty, the caller gets 402",
    )
    at_zero: Text = Field(
        default="",
        pattern=URI_PATTERN,
        description="where the caller of a call is moved whose money ended, by re-INVITE, after its charge is settled "
        "(RFC 8506 5.6.2); empty: it gets BYE like the called side",
    )
    longest_s: Whole = Field(default=60, ge=1, le=3600, description="how long either may last; nobody pays for it")
    warning: Literal["none", "info"] = Field(
        default="none", description="info: the caller gets INFO with the seconds that are left, as JSON"
    )
    warning_s: Whole = Field(
        default=30, ge=1, le=3600, description="how long before the end; at once where it is known later"
    )
