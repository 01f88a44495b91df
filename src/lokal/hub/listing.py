"""What a repository on the Hub holds: one request."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lokal.errors import AccessError, ModelNameError, NetworkError

TIMEOUT = 20  # seconds without an answer


def listing(repo: str) -> Mapping[str, int | None]:
    """The files of `OWNER/REPO`, with their sizes in bytes.

    Raises:
        ModelNameError: there is no such repository, or it is private.
        AccessError: its owners decide who may have it.
        NetworkError: the Hub does not answer as it should.
    """
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"  # read at import
    import httpx2
    from huggingface_hub import HfApi
    from huggingface_hub import errors as hf

    try:
        info = HfApi().model_info(repo, files_metadata=True, timeout=TIMEOUT)
    except hf.GatedRepoError:
        raise AccessError(f"{repo} is gated", hint="ask for access on its page") from None
    except hf.RepositoryNotFoundError:
        raise ModelNameError(f"{repo} is not there", hint="choose another repository") from None
    except (hf.HfHubHTTPError, httpx2.HTTPError, ValueError) as error:
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NetworkError(f"the Hub failed: {why}", hint="try again later") from None
    gated = getattr(info, "gated", None)
    if gated:
        raise AccessError(f"{repo} is gated ({gated})", hint="choose one that is open")
    return {sibling.rfilename: sibling.size for sibling in info.siblings or []}
