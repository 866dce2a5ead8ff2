"""Texts without their secrets, and texts that have none left as they are."""

import pytest

from gateway.redaction import HIDDEN, redact


@pytest.mark.parametrize(
    "text",
    [
        "redis://:hunter2@h/0",
        "redis://user:hunter2@h:6379/0 cannot be reached",
        "redis://:hun/ter2/hunter2@h/0",  # written without %2F: no URL any more, and shown for that reason
        "postgresql://u:p@hunter2@h/db",
        "postgresql://h/db?user=u&password=hunter2",
        "Authorization: Bearer hunter2",
        'Digest username="pbx", response="hunter2", nc=00000001',
        "{'username': 'pbx', 'password': 'hunter2'}",
        '{"api_key": "hunter2"}',
        "Invalid API Key provided: sk_live_hunter2",
        "signed with whsec_hunter2",
        "PBX_PASSWORD=hunter2 is too short",
        "mailto://billing:hunter2@example.org",
        "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49Awhunter2\n-----END PRIVATE KEY-----",
        "b'-----BEGIN RSA PRIVATE KEY-----\\nMIIEowIBAAKCAQEAhunter2hunter2hunter2",  # cut off, as repr
    ],
)
def test_a_secret_is_hidden(text: str) -> None:
    assert "hunter2" not in redact(text)
    assert HIDDEN in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "sip:+14255550100@127.0.0.1:5060;transport=udp",
        "redis://127.0.0.1:6379/0 cannot be reached: start it",
        "give the admin token: Authorization: Bearer TOKEN (data_dir/admin-token)",
        "the password is empty",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
