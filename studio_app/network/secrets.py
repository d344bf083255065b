"""Access tokens of other services, in the operating system's keyring and nowhere else."""

from __future__ import annotations

from engine.contracts.errors import InvalidRequest, StorageError

SERVICE = "Tessera Studio"


def token_for(host: str) -> str:
    """The token kept for a host; "" when there is none or this machine has no keyring."""
    import keyring
    from keyring.errors import KeyringError

    try:
        return keyring.get_password(SERVICE, host) or ""
    except KeyringError:
        return ""


def keep_token(host: str, token: str) -> None:
    """Keep a token for a host; an empty one forgets it. Raises InvalidRequest or StorageError."""
    import keyring
    from keyring.errors import KeyringError, PasswordDeleteError

    token = token.strip()
    if any(not "!" <= letter <= "~" for letter in token):
        raise InvalidRequest("a token has no spaces or special letters", where=host)
    try:
        if token:
            keyring.set_password(SERVICE, host, token)
        else:
            keyring.delete_password(SERVICE, host)
    except PasswordDeleteError:
        return
    except KeyringError as error:
        raise StorageError(
            "this machine has no keyring to keep a token in", where=host,
            fix="Unlock or install one (on Linux: gnome-keyring or KWallet); it is not written to a file",
        ) from error  # fmt: skip
