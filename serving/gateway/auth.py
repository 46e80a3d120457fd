"""API keys: who calls, and whether the key may do that."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal, Protocol

from serving.gateway.openai_errors import ApiError

Permission = Literal["invoke", "feedback:label", "feedback:rating"]


class Principal(Protocol):
    """The caller behind a key."""

    @property
    def name(self) -> str: ...

    @property
    def roles(self) -> Collection[str]: ...


Authenticate = Callable[[str | None], Principal | None]
"""The value of the `authorization` header → its principal, or None for a missing or unknown key."""


def authorize(authenticate: Authenticate, header: str | None, *roles: Permission) -> Principal:
    """The caller, who holds at least one of the roles.

    Raises:
        ApiError: 401 without a known key, 403 when the key has none of the roles.
    """
    principal = authenticate(header)
    if principal is None:
        message = (
            "Incorrect API key provided. One machine's keys are in its state folder: secrets/api-keys.plain.yaml."
            if header
            else "You didn't provide an API key. Send it as 'Authorization: Bearer YOUR_KEY'."
        )
        raise ApiError(
            401,
            message,
            type="authentication_error",
            code="invalid_api_key",
            headers={"www-authenticate": 'Bearer realm="tidegate"'},
        )
    require(principal, *roles)
    return principal


def require(principal: Principal, *roles: Permission) -> None:
    """Raises:
    ApiError: 403 when the principal has none of the roles.
    """
    if not any(role in principal.roles for role in roles):
        wanted = " or ".join(repr(role) for role in roles)
        raise ApiError(
            403,
            f"The API key {principal.name!r} lacks the role {wanted}. Ask for a key that has it.",
            type="permission_error",
            code="insufficient_permissions",
        )
