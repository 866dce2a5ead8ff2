"""Signatures: of this body, with this secret, of now."""

import pytest

from gateway.settlement.payments import BadSignature, check_signature, signature_of
from gateway.settlement.signing import TOLERANCE_S

BODY, NOW = b'{"key": "x"}', 1_767_225_600


def test_what_was_signed_passes_within_the_tolerance() -> None:
    signed = signature_of("shared", BODY, NOW)
    for apart in (-TOLERANCE_S, 0, TOLERANCE_S):
        check_signature("shared", BODY, signed, NOW + apart)


def test_it_is_the_hmac_that_the_documentation_says() -> None:
    import hashlib
    import hmac

    expected = hmac.new(b"shared", b"1767225600." + BODY, hashlib.sha256).hexdigest()
    assert signature_of("shared", BODY, NOW) == f"t=1767225600,v1={expected}"


@pytest.mark.parametrize("apart", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_a_message_that_was_overheard_is_too_old(apart: int) -> None:
    with pytest.raises(BadSignature, match="from now"):
        check_signature("shared", BODY, signature_of("shared", BODY, NOW), NOW + apart)


@pytest.mark.parametrize("wrong", ["", "v1=ab", "t=1,v1=" + "0" * 63, "t=1767225600,v1=" + "0" * 64])
def test_anything_else_is_refused(wrong: str) -> None:
    with pytest.raises(BadSignature):
        check_signature("shared", BODY, wrong, NOW)


def test_another_body_moment_or_secret_is_refused() -> None:
    signed = signature_of("shared", BODY, NOW)
    with pytest.raises(BadSignature, match="not of this body"):
        check_signature("shared", BODY + b" ", signed, NOW)
    with pytest.raises(BadSignature, match="not of this body"):
        check_signature("other", BODY, signed, NOW)
    with pytest.raises(BadSignature, match="not of this body"):
        check_signature("shared", BODY, signed.replace(f"t={NOW}", f"t={NOW + 1}"), NOW)
