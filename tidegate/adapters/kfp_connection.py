"""A real `kfp.Client`, made for programs: no file of the home folder, no endless waiting, secrets from files."""

from __future__ import annotations

import warnings
from typing import Any, Final

from tidegate.adapters.kfp_errors import read_secret, refuse_foreign
from tidegate.errors import InvalidInput, Unavailable
from tidegate.kfp_settings import KfpSettings

_CONNECT_SECONDS: Final = 5.0
_NOT_NOW: Final = frozenset({401, 429, 502, 503, 504})
"""A token that has run out, too many requests, a gateway whose server is away: asked later, it may be answered."""


def connected(settings: KfpSettings) -> Any:
    """A `kfp.Client` that neither reads nor writes a file in the user's home, and waits for no answer forever."""
    warnings.filterwarnings("ignore", message="This client only works with Kubeflow Pipeline", category=FutureWarning)
    _check(settings)
    from kfp import client as sdk  # noqa: PLC0415 - takes a second
    from kfp.client.token_credentials_base import TokenCredentialsBase  # noqa: PLC0415

    class Token(TokenCredentialsBase):  # type: ignore[misc]
        """The file is read for every call: a projected token is renewed every hour."""

        def refresh_api_key_hook(self, config: Any) -> None:
            assert settings.token_path is not None
            config.api_key["authorization"] = read_secret(settings.token_path, "token")

    class Client(sdk.Client):  # type: ignore[misc]
        def _load_context_setting_or_default(self) -> None:
            self._context_setting = {"namespace": ""}

        def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
            """Not while it is built: the real one tries for 25 seconds."""
            del sleep_duration
            import kfp_server_api  # noqa: PLC0415

            return kfp_server_api.V2beta1GetHealthzResponse(multi_user=False)

    try:
        made = Client(
            host=settings.url,
            ssl_ca_cert=str(settings.ca_path) if settings.ca_path is not None else None,
            credentials=Token() if settings.token_path is not None else None,
            ui_host=settings.ui_url or None,
        )
    except OSError as error:  # an unreadable authority
        raise Unavailable(
            f"Kubeflow Pipelines at {settings.url} cannot be talked to: {error}", next_step="Check --ca-file."
        ) from None
    _authenticated(made, settings)
    _bounded(made, (_CONNECT_SECONDS, settings.request_timeout))
    _strict(made, settings.url)
    return made


def ask(client: Any, path: str, accept: str, seconds: float) -> bytes | None:
    """What an address answers that the generated client does not know.

    Args:
        client: a connected `kfp.Client`.
        seconds: within which the next part of the answer must come.

    Returns:
        None where a status says that there is nothing, or nothing for us; by many a status KFP does.

    Raises:
        ApiException: the server is away, or does not answer this request now.
        urllib3.exceptions.HTTPError: nobody answers.
    """
    from kfp_server_api.exceptions import ApiException  # noqa: PLC0415 - with the SDK, which takes a second

    try:
        answer = client._run_api.api_client.call_api(
            path,
            "GET",
            header_params={"Accept": accept},
            auth_settings=["Bearer"] if client._existing_config.api_key else [],
            _return_http_data_only=True,
            _preload_content=False,
            _request_timeout=(_CONNECT_SECONDS, seconds),
        )
    except ApiException as error:
        if error.status and error.status not in _NOT_NOW:
            return None
        raise
    return bytes(answer.data)


def _check(settings: KfpSettings) -> None:
    """What can be told without asking anybody."""
    if not settings.url.startswith(("http://", "https://")):
        raise InvalidInput(
            f"the address of Kubeflow Pipelines {settings.url!r} is no URL", next_step="Write http://… or https://…."
        )
    if "@" in settings.url.partition("://")[2].partition("/")[0]:  # addresses are shown, in errors and in logs
        raise InvalidInput(
            "the address of Kubeflow Pipelines holds a name or a password",
            next_step="Give credentials as files: --token-file, --cookie-file or --header-file.",
        )
    if settings.ca_path is not None and not settings.ca_path.is_file():
        raise InvalidInput(f"the certificate authority {settings.ca_path} is no file", next_step="Correct --ca-file.")
    if bool(settings.header_name) != (settings.header_value_path is not None):
        given = f"header {settings.header_name!r}" if settings.header_name else f"file {settings.header_value_path}"
        raise InvalidInput(
            f"a proxy's header needs a name and a file with its value, and there is only the {given}",
            next_step="Give --header-file NAME=FILE, or TIDEGATE_KFP__HEADER_NAME and TIDEGATE_KFP__HEADER_VALUE_PATH.",
        )
    for path, what in (
        (settings.token_path, "token"),
        (settings.cookie_path, "cookie"),
        (settings.header_value_path, "header value"),
    ):
        if path is not None:
            read_secret(path, what)  # a missing one is told here, by name


def _authenticated(client: Any, settings: KfpSettings) -> None:
    """Cookie and header are read for every call, as the token is: a login ends, and is renewed in the file."""
    api = client._run_api.api_client
    call = api.call_api

    def authenticated(*args: Any, **options: Any) -> Any:
        if settings.cookie_path is not None:
            api.cookie = read_secret(settings.cookie_path, "cookie")
        if settings.header_value_path is not None:
            api.set_default_header(settings.header_name, read_secret(settings.header_value_path, "header value"))
        return call(*args, **options)

    api.call_api = authenticated


def _bounded(client: Any, seconds: tuple[float, float]) -> None:
    """Every call of the client has a time-out, and is not tried again behind our back."""
    api = client._run_api.api_client
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    call = api.call_api

    def bounded(*args: Any, **options: Any) -> Any:
        options["_request_timeout"] = options.get("_request_timeout") or seconds
        try:
            return call(*args, **options)
        except AttributeError as error:  # the client stumbles over an answer that never came, as over TLS
            if error.__context__ is None:
                raise
            raise error.__context__ from None

    api.call_api = bounded


def _strict(client: Any, url: str) -> None:
    """An answer that is not the API's counts as none."""
    import kfp_server_api  # noqa: PLC0415

    api = client._run_api.api_client
    read = api.deserialize

    def strictly(response: Any, kind: str) -> Any:
        fields = getattr(getattr(kfp_server_api, kind, None), "attribute_map", {})
        refuse_foreign(url, response.data, set(fields.values()))
        return read(response, kind)

    api.deserialize = strictly
