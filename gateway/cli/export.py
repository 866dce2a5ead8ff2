"""Ready documents for the programs around the gate: dashboards, alert rules, containers, a service, a dispatcher.

They lie in ``exports/`` as they are printed; what depends on the settings stands between ``@``.  Rights in a store
are made from what the room that knows that store declares.
"""

import shutil
import sys
from collections.abc import Callable
from enum import StrEnum
from importlib.resources import files
from typing import Annotated, Final

import typer

from gateway.cli.common import AsJson, ConfigFile, command, load
from gateway.cli.output import print_json
from gateway.config.settings import Settings
from gateway.config.values import bracketed
from gateway.credit.roles import acl_file
from gateway.ledger.roles import postgres_roles

OUTBOX_ALERT_SHARE: Final = 0.8
STOP_MARGIN_S: Final = 10
"""How long after the longest drain a gate may take to write down what it knows."""
KAMAILIO_PORT: Final = 5060
GATE_PORT: Final = 5062
"""Where the example expects the gate when both run on one machine, with Kamailio on the port that peers know."""


class Document(StrEnum):
    """What can be printed."""

    GRAFANA = "grafana"
    ALERTS = "alerts"
    COMPOSE = "compose"
    SYSTEMD = "systemd"
    KAMAILIO = "kamailio"
    REDIS_ACL = "redis-acl"
    POSTGRES_ROLES = "postgres-roles"


FILES: Final = {
    Document.GRAFANA: "grafana.json",
    Document.ALERTS: "alerts.yaml",
    Document.COMPOSE: "compose.yaml",
    Document.SYSTEMD: "callgate.service",
    Document.KAMAILIO: "kamailio.cfg",
    Document.REDIS_ACL: "callgate.acl",
    Document.POSTGRES_ROLES: "roles.sql",
}

MADE: Final[dict[Document, Callable[[], str]]] = {Document.REDIS_ACL: acl_file, Document.POSTGRES_ROLES: postgres_roles}
"""Documents that another room makes; their names are what to save them as."""


@command
def export(
    document: Annotated[Document, typer.Argument(help="Which document.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print a ready document: a Grafana dashboard, Prometheus alert rules, a Docker Compose file, a systemd unit, a
    Kamailio configuration with dispatcher, or the rights of the gate's users in Redis (ACL file) or PostgreSQL (SQL).

    Example: callgate export systemd > /etc/systemd/system/callgate.service
    """
    text = render(document, load(config))
    if as_json:
        print_json({"document": document.value, "file": FILES[document], "text": text})
    else:
        typer.echo(text, nl=False)


def render(document: Document, settings: Settings) -> str:
    """One document with the settings filled in."""
    if document in MADE:
        return MADE[document]()
    text = files("gateway.cli").joinpath("exports", FILES[document]).read_text(encoding="utf-8")
    for mark, value in MARKS.items():
        if mark in text:
            text = text.replace(mark, value(settings))
    return text


def _executable(_settings: Settings) -> str:
    """The console script of this installation."""
    return shutil.which("callgate") or f"{sys.executable} -m gateway.cli"


def _gates(settings: Settings) -> str:
    """Lines of a dispatcher list: every UDP address this gate hears on."""
    heard = [listen for listen in settings.sip.listen if listen.transport == "udp"]
    hosts = [(settings.sip.advertise or bracketed(listen.host), listen.port) for listen in heard]
    return "\n".join(f"#   1 sip:{host}:{GATE_PORT if port == KAMAILIO_PORT else port}" for host, port in hosts)


MARKS: Final[dict[str, Callable[[Settings], str]]] = {
    "@EXECUTABLE@": _executable,
    "@STOP_S@": lambda settings: f"{settings.drain_longest_s + STOP_MARGIN_S:.0f}",
    "@OUTBOX_ALERT@": lambda settings: str(int(settings.credit.outbox_max * OUTBOX_ALERT_SHARE)),
    "@DISPATCHER_LIST@": _gates,
    "@LISTEN@": lambda settings: f"{bracketed(settings.sip.listen[0].host)}:{KAMAILIO_PORT}",
}
