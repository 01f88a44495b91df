"""Whether the Hub answers, and whom it takes us for; only `llm doctor` asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lokal import __version__, settings
from lokal.errors import AccessError, LokalError, NetworkError
from lokal.hub import faults
from lokal.hub.client import library
from lokal.hub.faults import bad_token, first_line, not_the_hub

if TYPE_CHECKING:
    import httpx2

PATIENCE = 5.0  # seconds without an answer
_TOKEN = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


def endpoint() -> str:
    """The address that is asked, as people may see it: without the password of a mirror."""
    with library():
        return faults.address()


def token_origin() -> str | None:
    """Where the access token is: the name of a variable, or a file; None if there is none.

    Raises:
        AccessError: the file cannot be read.
    """
    for name, value in settings.variables(*_TOKEN).items():
        if value.strip():
            return name
    with library():
        from huggingface_hub import constants
    path = Path(constants.HF_TOKEN_PATH)
    try:
        return str(path) if path.read_bytes().strip() else None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise AccessError(
            f"the token in {path} cannot be read: {error.strerror}",
            hint="see who may read that file, or set HF_TOKEN",
        ) from None


def reach() -> None:
    """Ask the Hub, as a stranger, for what everybody may have.

    Raises:
        NetworkError: nobody answers, or what answers is not the Hub.
    """
    answer = _get("models?limit=1", token=False)
    status = answer.status_code
    if status == 429 or status >= 500:
        raise NetworkError(f"{endpoint()} fails (HTTP {status})", hint="try again later")
    if not isinstance(_json(answer), list):
        raise not_the_hub()


def whoami() -> str:
    """The name of the account that the token belongs to.

    Raises:
        AccessError: the Hub does not know the token, or it is none.
        NetworkError: the Hub does not say.
    """
    try:
        answer = _get("whoami-v2", token=True)
    except LokalError:
        raise
    except Exception:  # it may spell the token
        raise bad_token("has characters that no token has") from None
    if answer.status_code == 401:
        raise bad_token("is unknown to the Hub")
    found = _json(answer)
    if not isinstance(found, dict) or "name" not in found:
        raise NetworkError(
            f"the Hub does not say whose token this is (HTTP {answer.status_code})",
            hint="try again later",
        )
    return str(found["name"])


def _json(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _get(path: str, *, token: bool) -> httpx2.Response:
    """The answer to one request, which is not tried again.

    Raises:
        NetworkError: there is none, whatever the client says about that.
        LocalProtocolError, UnicodeError: a token that cannot be sent.
    """
    with library():
        import httpx2
        from huggingface_hub import constants, get_session
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers = build_hf_headers(token=token, library_name="lokal", library_version=__version__)
        url = f"{constants.ENDPOINT}/api/{path}"
        try:
            return get_session().get(url, headers=headers, timeout=PATIENCE)
        except (httpx2.LocalProtocolError, UnicodeError):
            if token:
                raise
            why = "its address cannot be sent"
        except Exception as error:  # a proxy of an unknown kind is a ValueError, or an ImportError
            why = first_line(error)
        raise NetworkError(f"{endpoint()} cannot be reached: {why}", hint=_advice()) from None


def _advice() -> str:
    """What to look at; of proxies and mirrors only those that are set."""
    names = [*_PROXIES, *map(str.lower, _PROXIES), "HF_ENDPOINT"]
    found = ", ".join(settings.variables(*names))
    also = f", and {found}, which is set" if found else ""
    return f"check the connection{also}; models that are here run without it"
