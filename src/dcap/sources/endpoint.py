"""One base URL, and how to ask it: the request goes to its origin's Handler, the answer is read.

Whatever an answer holds instead of what belongs there is a `CollateralError` that names the URL, never
its query, for a query identifies machines. Not here: what is asked (`api`, `pcs`, `pccs` …), and the
network itself (`transport`).

    endpoint = Endpoint("https://cache:8081/sgx/certification/v4/", connect)
    answer = endpoint.ask(request, read)       # answer.value, answer.address
"""

import copy
from collections.abc import Callable
from typing import Generic, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec

from dcap.api.http import Handler, HttpRequest, HttpResponse
from dcap.errors import CollateralError, ConfigError, FormatError, NotFound

T = TypeVar("T")

#: Origin (scheme://host[:port]) -> who answers there: `Network(…).handler`, or a simulated service.
Connect: TypeAlias = Callable[[str], Handler]


class Answer(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What was answered, and where: the URL without its query.

    `passing`: what a person should be told of this one way, such as who was asked before in vain.
    """

    value: T
    address: str
    passing: tuple[str, ...] = ()


class Endpoint:
    """A base URL. `origin` is its scheme, host and port; `path` begins and ends with a slash."""

    def __init__(self, url: str, connect: Connect) -> None:
        self.url = url
        self.origin, self.path = _split(url)
        self._connect = connect
        self._handler: Handler | None = None

    def __repr__(self) -> str:
        return f"<Endpoint {self.origin}{self.path}>"

    def ask(self, request: HttpRequest, read: Callable[[HttpResponse], T]) -> Answer[T]:
        """Send a request and read the answer.

        Raises `NotFound`, `Unavailable`, or `CollateralError` (`source-answer`) for an answer that
        cannot be read.
        """
        address = self.origin + request.path
        response: HttpResponse | None = None
        try:
            if self._handler is None:
                self._handler = self._connect(self.origin)
            response = self._handler(request)
            return Answer(value=read(response), address=address)
        except FormatError as error:
            raise unreadable(error, address + _through(response)) from None
        except CollateralError as error:
            raise _counted(placed(error, address + _through(response)), response) from None


def _through(response: HttpResponse | None) -> str:
    """The proxy that has handed an answer on, or has made it itself, as a network's answers say."""
    proxy = getattr(response, "proxy", None)
    return f", through the proxy {proxy}" if proxy else ""


def _counted(error: CollateralError, response: HttpResponse | None) -> CollateralError:
    """The error, saying how often was asked before this answer was taken for the last."""
    attempts = getattr(response, "attempts", 1)
    if attempts == 1:
        return error
    told = copy.copy(error)
    told.what = f"{error.what}, in the last of {attempts} attempts"
    return told


def after(first: CollateralError, place: str, second: CollateralError) -> CollateralError:
    """One error of two places that were asked in turn: the first, called `place`, failed as well.

    Where only the second has none, the first might have had it.
    """
    one, other = f"{place}: {_told(first)}", _told(second)
    absent = isinstance(second, NotFound) and not isinstance(first, NotFound)
    told = copy.copy(first if absent else second)
    told.what = f"{other}; before it {one}" if not absent else f"{one}; after it {other}"
    told.where = ""
    mends = dict.fromkeys(error.mend for error in (first, second) if error.mend)
    told.mend = "; or ".join(mends)
    return told


def _told(error: CollateralError) -> str:
    return f"{error.what} ({error.where})" if error.where else error.what


def unreadable(error: FormatError, address: str) -> CollateralError:
    """An answer that is not what was asked for: it says nothing of the evidence."""
    where = f"{address}: {error.where}" if error.where else address
    return CollateralError(
        "source-answer",
        f"the answer cannot be read: {error.what}",
        where=where,
        mend="look at the answer with `curl -v`: a proxy or a sign-in page may stand in its place, "
        "or the URL is not that of such a service",
    )


def placed(error: CollateralError, address: str) -> CollateralError:
    """The same error, with the URL it came from where it names no place."""
    if error.where:
        return error
    found = copy.copy(error)
    found.where = address
    return found


def origin_of(url: str) -> str:
    """The scheme, host and port of a URL. Raises `ConfigError` (`source-url`)."""
    return _split(url)[0]


def target_of(url: str) -> str:
    """The path and query of a URL, as they stand."""
    origin = origin_of(url)
    return url[len(origin) :] or "/"


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    if fine and "@" in parts.netloc:
        raise ConfigError(
            "source-url",
            "a user name or a password stands in the URL: dcap sends none to a service",
            where=_shown(url),
            mend="take them out, with the @ behind them; who needs to be known at the service goes by "
            "its own means (custom_request_options, a key)",
        )
    if not fine or parts.fragment:
        raise ConfigError(
            "source-url",
            "it is not the URL of a service, such as https://host:8081/sgx/certification/v4/",
            where=_shown(url),
            mend="give scheme, host and path, without user name or fragment",
        )
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path
    return origin, path if path.endswith("/") else f"{path}/"


def _shown(url: str) -> str:
    """A URL for people: no user, password or query."""
    scheme, mark, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return f"{scheme}{mark}{host}"[:200] if mark else "the URL"
