"""One process with one plugin in it, in the words of plugins: loaded, asked, ended.

    child = Child(path, environ, "error")
    loaded = child.start(10.0)
    answer = child.ask(Call(name="sgx_ql_get_root_ca_crl"), 30.0)
    child.end()

Any failure of a request ends the process: nothing of it is used after that. Not here: how it is started,
asked and ended (`isolated_process`), the process itself (`plugin_process`), when a new one is started
(`plugin`).
"""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from dcap.qpl import plugin_errors as errors
from dcap.qpl.abi import Level
from dcap.qpl.frames import frame
from dcap.qpl.isolated_process import EndedError, IsolatedProcess
from dcap.qpl.plugin_messages import Answer, Call, Loaded

M = TypeVar("M", Answer, Loaded)

_MODULE: Final = "dcap.qpl.plugin_process"


class Child:
    """One process. Not for several threads at once. Raises what `plugin_errors` makes."""

    def __init__(self, path: str, environ: Mapping[str, str], level: Level) -> None:
        self._path = path
        try:
            self._process = IsolatedProcess(_MODULE, (path, level), environ)
        except (OSError, ValueError) as error:
            why = f"no process can be started for it: {error}"
            raise errors.not_loaded(path, why) from None

    def start(self, seconds: float) -> Loaded:
        """Wait until the plugin is loaded."""
        loaded = self._exchange(b"", Loaded, "its loading", seconds)
        if loaded.error:
            self.end()
            raise errors.not_loaded(self._path, errors.short(loaded.error))
        return loaded

    def ask(self, call: Call, seconds: float) -> Answer:
        """One call, and its answer."""
        return self._exchange(frame(call), Answer, call.name, seconds)

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, by itself."""
        return self._process.has_ended

    def noise(self) -> list[str]:
        """The lines that were printed, and not told yet."""
        return self._process.noise()

    def end(self, *, politely: bool = False) -> None:
        """End it and all that it has started, and wait for it."""
        self._process.end(politely=politely)

    def _exchange(self, request: bytes, kind: type[M], name: str, seconds: float) -> M:
        try:
            body = self._process.exchange(request, seconds)
            return msgspec.msgpack.decode(body, type=kind)
        except TimeoutError:
            raise errors.too_slow(self._path, name, seconds, self._last()) from None
        except EndedError as ended:
            raise errors.died(self._path, name, ended, self._last()) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.end()
            raise errors.garbage(self._path, name) from None

    def _last(self) -> str:
        lines = self.noise()
        return errors.short(lines[-1]) if lines else ""
