"""TLS without a socket: two wires back to back, and the certificates behind them."""

import shutil
import ssl
from pathlib import Path

import pytest

from gateway.config.settings import TlsSettings
from gateway.transport.tls import Contexts, TlsError, Wire, is_for
from tests.gateway.transport.authority import Authority

pytestmark = pytest.mark.peer("openssl")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def settings(authority: Authority) -> TlsSettings:
    return authority.settings("gate", "DNS:gate.example.org", "IP:127.0.0.1")


def shake(client: Wire, server: Wire) -> None:
    """Carry bytes to and fro until nobody has any; what one side raises comes out."""
    client.begin()
    while True:
        there = client.take()
        if there:
            server.feed(there)
        back = server.take()
        if back:
            client.feed(back)
        if not there and not back:
            return


def shown_to(client: Wire) -> tuple[str, ...]:
    """The names in the certificate that the other side showed."""
    certificate = client._ssl.getpeercert() or {}
    return tuple(str(name) for _, name in certificate["subjectAltName"])  # type: ignore[misc]


def test_bytes_go_both_ways_once_hands_are_shaken(settings: TlsSettings) -> None:
    contexts = Contexts(settings)
    client, server = contexts.connect("gate.example.org"), contexts.accept()
    client.write(b"said too early")
    assert client.waiting == 14
    shake(client, server)
    assert client.ready
    assert server.ready
    assert client.waiting == 0
    assert client._ssl.version() == "TLSv1.3"
    server.write(b"x" * 200_000)
    assert client.feed(server.take()) == b"x" * 200_000


def test_what_was_said_too_early_arrives_with_the_end_of_the_handshake(settings: TlsSettings) -> None:
    contexts = Contexts(settings)
    client, server = contexts.connect("127.0.0.1"), contexts.accept()
    client.write(b"hello")
    client.begin()
    server.feed(client.take())
    client.feed(server.take())
    assert server.feed(client.take()) == b"hello"


@pytest.mark.parametrize("name", ["other.example.org", "127.0.0.2"])
def test_a_peer_with_another_name_is_not_spoken_to(settings: TlsSettings, name: str) -> None:
    contexts = Contexts(settings)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(contexts.connect(name), contexts.accept())


def test_a_peer_of_an_unknown_authority_is_not_spoken_to(settings: TlsSettings, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").settings("gate", "DNS:gate.example.org")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(Contexts(settings).connect("gate.example.org"), Contexts(stranger).accept())
    system = settings.model_copy(update={"ca": None})
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(Contexts(system).connect("gate.example.org"), Contexts(settings).accept())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(Contexts(None).connect("gate.example.org"), Contexts(settings).accept())


def test_tls_below_1_2_is_refused(settings: TlsSettings) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        shake(Wire(old, "gate.example.org"), Contexts(settings).accept())


def test_what_is_no_tls_is_refused(settings: TlsSettings) -> None:
    with pytest.raises(ssl.SSLError):
        Contexts(settings).accept().feed(b"OPTIONS sip:gate SIP/2.0\r\n\r\n")


def test_a_peer_that_asks_for_a_name_is_shown_its_certificate(authority: Authority) -> None:
    certificate, key = authority.sign("second", "DNS:second.example.org")
    names = [{"server_name": "Second.example.org", "certificate": str(certificate), "key": str(key)}]
    contexts = Contexts(authority.settings("first", "DNS:first.example.org", names=names))
    for name in ("first.example.org", "second.example.org"):
        client = contexts.connect(name)
        shake(client, contexts.accept())
        assert shown_to(client) == (name,)


@pytest.mark.parametrize(("wanted", "shows", "fails"), [("required", False, True), ("optional", False, False)])
def test_a_client_without_a_certificate(authority: Authority, wanted: str, shows: bool, fails: bool) -> None:
    contexts = Contexts(authority.settings("asks", "DNS:asks.example.org", client_certificates=wanted))
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(authority.certificate)
    client, server = Wire(bare, "asks.example.org"), contexts.accept()
    if fails:
        with pytest.raises(ssl.SSLError, match=r"(?i)certificate"):
            shake(client, server)
    else:
        shake(client, server)
        assert server.ready
        assert not server.proves("asks.example.org")


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("gate.example.org", True), ("GATE.example.org.", True), ("a.pool.example.net", True), ("192.0.2.1", True),
        ("2001:db8:0::1", True), ("pool.example.net", False), ("a.b.pool.example.net", False), ("192.0.2.2", False),
        ("example.org", False), ("example.com", False), ("", False),
    ],
)  # fmt: skip
def test_which_names_a_certificate_is_for(name: str, fits: bool) -> None:
    names = (
        ("DNS", "gate.example.org"), ("DNS", "*.pool.example.net"), ("IP Address", "192.0.2.1"),
        ("IP Address", "2001:DB8:0:0:0:0:0:1\n"), ("DNS", "*.com"), ("DNS", "192.0.2.2"),
    )  # fmt: skip
    assert is_for({"subject": (), "subjectAltName": names}, name) is fits
    assert not is_for({"subject": ((("commonName", name),),)}, name)


def test_a_client_proves_itself_by_the_gates_own_certificate(authority: Authority, tmp_path: Path) -> None:
    contexts = Contexts(authority.settings("asks", "DNS:asks.example.org", client_certificates="required"))
    server = contexts.accept()
    shake(contexts.connect("asks.example.org"), server)
    assert server.proves("asks.example.org")
    assert not server.proves("other.example.org")
    stranger = Authority(tmp_path, "stranger").settings("x", "DNS:x.example.org")
    client = Contexts(stranger.model_copy(update={"ca": authority.certificate})).connect("asks.example.org")
    with pytest.raises(ssl.SSLError):
        shake(client, contexts.accept())


def test_a_renewed_certificate_is_shown_to_the_next_peer(authority: Authority) -> None:
    settings = authority.settings("renewed", "DNS:old.example.org")
    contexts = Contexts(settings)
    assert not contexts.refresh()
    open_before = contexts.connect("old.example.org"), contexts.accept()
    shake(*open_before)
    authority.sign("renewed", "DNS:new.example.org")
    assert contexts.refresh()
    assert not contexts.refresh()
    client = contexts.connect("new.example.org")
    shake(client, contexts.accept())
    assert shown_to(client) == ("new.example.org",)
    open_before[0].write(b"still here")
    assert open_before[1].feed(open_before[0].take()) == b"still here"


def test_half_a_renewal_changes_nothing(authority: Authority) -> None:
    settings = authority.settings("half", "DNS:half.example.org")
    contexts = Contexts(settings)
    _, key = authority.sign("another", "DNS:another.example.org")
    kept = settings.key.read_bytes()
    shutil.copy(key, settings.key)
    assert not contexts.refresh()
    shake(contexts.connect("half.example.org"), contexts.accept())
    settings.key.unlink()
    assert not contexts.refresh()
    settings.key.write_bytes(kept)
    assert contexts.refresh()


def test_files_that_cannot_be_used_are_named(authority: Authority, tmp_path: Path) -> None:
    good = authority.settings("good", "DNS:good.example.org")
    _, other_key = authority.sign("other", "DNS:other.example.org")
    with pytest.raises(TlsError, match=r"good\.pem with key .*other\.key: the key belongs to another certificate"):
        Contexts(good.model_copy(update={"key": other_key}))
    with pytest.raises(TlsError, match="No such file"):
        Contexts(good.model_copy(update={"certificate": tmp_path / "none.pem"}))
    (tmp_path / "empty.pem").write_text("nothing\n")
    with pytest.raises(TlsError, match=r"authorities .*empty\.pem: not a PEM file"):
        Contexts(good.model_copy(update={"ca": tmp_path / "empty.pem"}))


def test_a_key_with_a_pass_phrase_is_refused_and_not_asked_for(authority: Authority) -> None:
    settings = authority.settings("locked", "DNS:locked.example.org")
    authority._openssl("ec", "-in", settings.key, "-aes128", "-passout", "pass:hunter2", "-out", settings.key)
    with pytest.raises(TlsError, match="pass phrase") as caught:
        Contexts(settings)
    assert "hunter2" not in str(caught.value)
