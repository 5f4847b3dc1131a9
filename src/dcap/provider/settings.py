"""How the process is run: where it listens, for how long, whom it asks, and whom it trusts.

    settings = Settings(socket=default_socket(os.environ), on_demand=True)
    trust = trust_of(settings)

Not here: the flags (`cli.provider_serve`, `__main__`), the socket itself (`place`, `server`).

Spec: `docs/provider-messages.md`, "Where the process is".
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from dcap.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from dcap.provider.callers import Trust
    from dcap.verification.anchors import TrustAnchor

VARIABLE: Final = "DCAP_PROVIDER_SOCKET"
SYSTEM_SOCKET: Final = Path("/run/dcap/provider.sock")
#: After so many seconds without a request, a process that was started on demand ends.
IDLE: Final = 600.0
_MOST_OF_A_ROOT: Final = 65536


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings. `idle` `None`: it never ends by itself. `shared`: any user may connect.

    On demand it was started by the library, for whoever called it: it says nothing, and the
    environment it was started in is that program's, not its own.
    """

    socket: Path
    on_demand: bool = False
    idle: float | None = None
    shared: bool = False
    sources: tuple[str, ...] = ()
    ca: Path | None = None
    cache: bool = True
    test_root: Path | None = None


def default_socket(environ: Mapping[str, str]) -> Path:
    """Where the library looks first: `$DCAP_PROVIDER_SOCKET`, else this user's own place."""
    if own := environ.get(VARIABLE, ""):
        return Path(own)
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        return Path(runtime) / "dcap" / "provider.sock"
    return Path(f"/tmp/dcap-{os.geteuid()}/provider.sock")  # noqa: S108 - its folder is checked


def trust_of(settings: Settings) -> "Trust":
    """Whom to trust. Raises `ConfigError` (`test-root`, `network-ca`)."""
    from dcap.provider.callers import Trust  # noqa: PLC0415 - slow to load
    from dcap.verification.anchors import INTEL_SGX_ROOT  # noqa: PLC0415

    if settings.ca is not None:
        from dcap.transport import Network  # noqa: PLC0415 - only where it is given

        # Read now and not only when it is needed: a process that cannot serve does not start.
        Network(ca=settings.ca, environ={}).handler("https://localhost")
    anchor = INTEL_SGX_ROOT if settings.test_root is None else _test_root(settings.test_root)
    return Trust(anchor=anchor, ca=settings.ca, cache=settings.cache)


def _test_root(path: Path) -> "TrustAnchor":
    from dcap.formats.certificate import Certificate  # noqa: PLC0415 - tests alone
    from dcap.verification.anchors import TrustAnchor  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            found = Certificate.parse_chain(file.read(_MOST_OF_A_ROOT))
    except (OSError, FormatError) as error:
        raise _not_a_root(path, getattr(error, "what", "") or str(error)) from None
    if len(found) != 1 or not found[0].self_issued or not found[0].is_ca:
        raise _not_a_root(path, "not one self-issued CA certificate alone")
    return TrustAnchor.insecure_test_root(found[0])


def _not_a_root(path: Path, why: str) -> ConfigError:
    return ConfigError(
        "test-root",
        f"not a root certificate: {why}",
        where=str(path),
        mend="give the file of the test root that you made (PEM), with nothing else in it",
    )
