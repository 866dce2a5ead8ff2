"""The admin token: what the settings give, else one made on the first start and kept where only the owner reads it."""

from typing import Final

from gateway.config.kept_secret import KeptSecretError, kept_secret
from gateway.config.settings import Settings

TOKEN_FILE: Final = "admin-token"  # noqa: S105  the name of a file


class TokenError(Exception):
    """The token's file cannot be read or made; the text says why and what to do."""


def admin_token(settings: Settings) -> str:
    """The bearer token of the API: ``admin.token``, else that of ``data_dir/admin-token``, made now if need be.

    Raises TokenError.
    """
    if given := settings.admin.token.get_secret_value():
        return given
    try:
        return kept_secret(settings.data_dir / TOKEN_FILE, "admin.token")
    except KeptSecretError as error:
        raise TokenError(str(error)) from error
