"""How a call's record is written along the way: what is known at the INVITE once, the rest when the call is over.

The part that does not change is written once, goes to the store with the reservation (so that a sweep can book a call
whose worker died), and is completed by the figures at the end; what comes out reads back as a
:class:`gateway.call.record.CallRecord`.  The text is put together by hand, with the quoting of the json module: it is
made for every call, and a general encoder would take longer over it than the rest of the call's end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Final

from gateway.call.record import CallRecord
from policy.drawn import Minutes
from policy.verdict import Allow, Deny
from rating.tariff import Tariff

WORDS_KEPT: Final = 4096
"""Names kept as they are quoted; a busy gate has some hundreds."""


@dataclass(slots=True)
class Ending:
    """How a call ended, in the words of CallRecord."""

    reason: str
    sip_status: int
    ended_by: str
    limit: str = ""


def opening(verdict: Allow | Deny, call_id: str, sip_call_id: str, node: str, trunk: str, invited_ms: int) -> str:
    """The record's beginning, as JSON without its closing brace; values that are empty may be left out."""
    text = (
        f'{{"call_id":"{call_id}","tenant_id":{_word(verdict.tenant_id)},"kind":{_word(verdict.kind)}'
        f',"sip_call_id":{quoted(sip_call_id)},"node":{_word(node)},"trunk":{_word(trunk)},"invited_ms":{invited_ms}'
        f',"caller":{quoted(verdict.caller)},"dialled":{quoted(verdict.dialled)},"number":{quoted(verdict.number)}'
        f',"currency":{_word(verdict.currency)},"destination":{_word(verdict.destination)},"user_id":{quoted(verdict.user_id)}'
    )
    text += f',"tried":{_quoted_words(verdict.tried)}' if verdict.tried else ""
    return text + _allowed(verdict) if isinstance(verdict, Allow) else text


_word: Final = lru_cache(WORDS_KEPT)(quoted)
"""As ``quoted``, for what operators name and calls repeat: tenants, trunks, places."""


@lru_cache(64)
def _quoted_words(words: tuple[str, ...]) -> str:
    """There are as many of these as policy has rules."""
    return quoted(" ".join(words))


def _allowed(verdict: Allow) -> str:
    text = f',"payer":"{verdict.payer}","number_type":{_word(verdict.number_type)}'
    if not verdict.domestic:
        text += ',"domestic":false'
    if verdict.tariff is not None:
        rate = verdict.tariff.rate_micros_per_min
        text += f',"rate_micros_per_min":{rate},"connect_micros":{verdict.tariff.connect_micros}'
    for name in ("user_name", "user_location", "conference", "capability", "credit"):
        value = getattr(verdict, name)
        if value:
            text += f',"{name}":{quoted(value)}'
    return text


def so_far(opening: str) -> bytes:
    """The record as it stands before the call is dialled."""
    return f"{opening}}}".encode("utf-8", "replace")


def unanswered(opening: str, carrier: str, ended_ms: int, ending: Ending) -> bytes:
    """The record of a call that was refused, given up or failed."""
    return (
        f'{opening},"carrier":{quoted(carrier)},"ended_ms":{ended_ms},"reason":"{ending.reason}"'
        f',"sip_status":{ending.sip_status},"ended_by":"{ending.ended_by}"{_limit(ending)}}}'
    ).encode("utf-8", "replace")


def answered(
    opening: str,
    carrier: str,
    answered_ms: int,
    talk_ms: int,
    billed_s: int,
    charge_micros: int,
    ending: Ending,
    uncharged_micros: int = 0,
    minutes: Sequence[Minutes] = (),
    rates: str = "",
) -> bytes:
    """The record of a call that was answered; it ended ``talk_ms`` after its answer, ``minutes`` of pools were used.

    ``rates`` is what :func:`rates_told` says of its tariff.
    """
    more = f',"uncharged_micros":{uncharged_micros}' if uncharged_micros else ""
    if minutes:
        more += f',"pool":{quoted(minutes[0].pool)},"pool_minutes":{sum(each.minutes for each in minutes)}'
    more += f',"rates":"{rates}"' if rates else ""
    return (
        f'{opening},"carrier":{quoted(carrier)},"answered_ms":{answered_ms},"ended_ms":{answered_ms + talk_ms}'
        f',"talk_ms":{talk_ms},"billed_s":{billed_s},"charge_micros":{charge_micros}{more},"reason":"{ending.reason}"'
        f',"sip_status":{ending.sip_status},"ended_by":"{ending.ended_by}"{_limit(ending)}}}'
    ).encode("utf-8", "replace")


def rates_told(tariff: Tariff | None, invited: Tariff | None) -> str:
    """CallRecord's ``rates`` of a call that is charged by ``tariff``; ``invited`` was in effect at its INVITE."""
    if tariff is None or invited is None or not (tariff.steps or _rate(tariff) != _rate(invited)):
        return ""
    return ", ".join(f"{step[0]} {step[1]}" for step in ((0, tariff.rate_micros_per_min), *tariff.steps))


def invited_tariff(tariff: Tariff | None, record: CallRecord) -> Tariff | None:
    """What was in effect at the INVITE of a call that is charged by ``tariff``, as far as its record tells."""
    if tariff is None:
        return None
    rate, connect = record.rate_micros_per_min, record.connect_micros
    return replace(tariff, rate_micros_per_min=rate, connect_micros=connect, steps=())


def _rate(tariff: Tariff) -> tuple[int, int]:
    return tariff.rate_micros_per_min, tariff.connect_micros


def _limit(ending: Ending) -> str:
    return f',"limit":{quoted(ending.limit)}' if ending.limit else ""
