import io
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config.settings import Settings
from gateway.worker.plan import Plan, encode_plan, read_plan


def plan(tmp_path: Path) -> Plan:
    settings = Settings.model_validate({"node": {"data_dir": tmp_path}, "admin": {"token": "secret"}})
    return Plan(
        role="worker", settings=settings, redis_url="unix:///x", ledger_url="sqlite:////y", instance="i", slot=1
    )


def test_a_plan_arrives_as_it_was_sent_secrets_included(tmp_path: Path) -> None:
    sent = plan(tmp_path)
    read = read_plan(io.BytesIO(encode_plan(sent) + b"rest"))
    assert read == sent
    assert read.settings.admin.token.get_secret_value() == "secret"


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x00\x00\x09abc", b"\xff\xff\xff\xff"])
def test_what_is_no_plan_is_refused_with_a_reason(data: bytes) -> None:
    with pytest.raises(ValueError, match="standard input"):
        read_plan(io.BytesIO(data))


def test_inherited_sockets_are_opened_by_their_numbers(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        sockets = replace(plan(tmp_path), own_udp=(udp.fileno(),)).sockets()
        opened = sockets.own_udp[0]
        assert opened.getsockname() == udp.getsockname()
        assert opened.type == socket.SOCK_DGRAM
        opened.detach()
