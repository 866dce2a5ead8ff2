"""Settings of what sources that no trunk names may cost (gateway.transport.strangers)."""

from typing import Final

from pydantic import Field

from gateway.config.values import Number, Table, Whole

DAY_S: Final = 86_400


class StrangerSettings(Table):
    """What addresses may send that no trunk names, that have not registered and that no call leads to."""

    messages_per_second: Number = Field(
        default=50, ge=1, le=100_000, description="messages taken from one such address; further ones are dropped"
    )
    all_messages_per_second: Number = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="the same for all such addresses of the gate together, since UDP sources can be forged",
    )
    all_calls_per_second: Number = Field(
        default=20,
        ge=1,
        le=100_000,
        description="INVITEs among those; an unacknowledged one costs eleven answers",
    )
    offences: Whole = Field(
        default=300,
        ge=1,
        le=1_000_000,
        description="offences within a minute that ban an address: each message that is no SIP or over its rate, each "
        "INVITE, each request without the credentials it was asked for; one with wrong credentials counts thirty",
    )
    ban_s: Number = Field(default=60, ge=0, le=DAY_S, description="how long an address is banned; 0: nobody is")
