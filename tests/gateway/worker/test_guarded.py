"""Which trunks' credentials the gate itself takes for right, and what the call machine is told of them."""

from pathlib import Path

from gateway.config.settings import Settings, parse
from gateway.worker.guarded import guarded_of
from gateway.worker.worker import _call_settings


def settings() -> Settings:
    def trunk(name: str, role: str, username: str = "") -> dict[str, object]:
        made: dict[str, object] = {"name": name, "role": role, "targets": ["sip:192.0.2.9"]}
        if role == "access":
            made["tenant"] = "contoso"
        if username:
            made["digest"] = {"username": username, "password": "xyzzy"}
        return made

    trunks = [
        trunk("pbx", "access", "pbx"),
        trunk("open", "access"),
        trunk("carrier", "carrier", "gate"),
        trunk("same", "carrier", "pbx"),
    ]
    return parse({"sip": {"realm": "gate.example"}, "trunk": trunks}, "", Path("/x"))


def test_access_trunks_and_who_shares_their_user_name_are_guarded() -> None:
    assert guarded_of(settings().trunk) == {"pbx", "same"}


def test_the_call_machine_knows_them_and_the_realm() -> None:
    made = _call_settings(settings())
    assert (made.guarded, made.realm) == ({"pbx", "same"}, "gate.example")
    assert set(made.credentials) == {"pbx", "carrier", "same"}
