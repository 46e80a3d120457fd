"""What is said when a server's certificate cannot be verified: why, and where its authority's certificates belong."""

from __future__ import annotations

from typing import Final

from tidegate.errors import Unavailable

_OTHER_NAME: Final = ("does not match host name", "hostname mismatch", "ip address mismatch")
_UNTRUSTED: Final = ("certificate verify failed", "certificate_verify_failed", "root certificate file")


def unverified(server: str, said: str, variable: str) -> Unavailable | None:
    """The error where that is what a client says; None where it says something else.

    Args:
        server: which one, for the message.
        said: the client's own words: libpq's, OpenSSL's.
        variable: the environment variable that names the file of certificates which this client trusts.
    """
    text = said.lower()
    if not any(sign in text for sign in (*_OTHER_NAME, *_UNTRUSTED)):
        return None
    problem = f"the certificate of {server} cannot be verified: {said.rstrip('. ')}"
    if any(sign in text for sign in _OTHER_NAME):
        return Unavailable(
            problem, next_step="Use a name that the certificate has, or give the server one for this name."
        )
    return Unavailable(
        problem,
        next_step=f"Name a file with its authority's certificates in {variable}; on a cluster set the chart's "
        "certificateAuthority.",
    )
