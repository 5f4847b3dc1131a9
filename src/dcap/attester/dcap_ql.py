"""Intel's quoting library, `libsgx_dcap_ql.so.1`: the quoting enclave is loaded by us, and no daemon's.

    attester = DcapQlAttester.found(Surroundings.here(), reporter)
    quote = attester.quote(report_data)

It runs in a process of its own, each step with a time limit: what aborts, crashes or hangs there is an
error here. The first step already asks the quote provider plugin for the PCK certificate, over the
network; hence codes of the network (0xE011, 0xE019, 0xE044) before anything is quoted. Where
SGX_AESM_ADDR is set the library would ask AESM instead, which `aesm` does without it. Not here: the
process itself (`dcap_ql_process`), the plugin (`qpl.plugin`), the report that is signed (`Reporter`).

Source: `quote-provider.md` §2.7, §5.3, §5.5, §6 rows 1, 2, 5, 6, 11 and 19.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from dcap.attester.attester import Description, Reporter, described, padded
from dcap.attester.bound_quote import bound_quote
from dcap.attester.container import NODES, Use, node_of
from dcap.attester.dcap_ql_messages import Loaded, Outcome, Part, Step
from dcap.attester.reported import expect_over, no_reporter, report_for
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.qpl.discovery_loader import Loader
from dcap.qpl.frames import frame
from dcap.qpl.isolated_process import EndedError, IsolatedProcess
from dcap.qpl.plugin_errors import ABSENT, SILENT, explain, short

NAME: Final = "dcap-ql"
LIBRARY: Final = "libsgx_dcap_ql.so.1"
AESM_VARIABLE: Final = "SGX_AESM_ADDR"
_MODULE: Final = "dcap.attester.dcap_ql_process"
_PACKAGES: Final = "sudo apt-get install libsgx-dcap-ql libsgx-dcap-default-qpl"
#: What goes wrong while the plugin fetches, and not while the enclave works.
_OF_THE_PLUGIN: Final = ABSENT | SILENT | {0xE00E}
_TARGET_INFO: Final = "sgx_qe_get_target_info"

_Message = TypeVar("_Message", Loaded, Outcome)


class DcapQlLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: to load the library, for one step of it."""

    load: float = 10.0
    step: float = 60.0


class DcapQlAttester:
    """The library at a path, if there is one. `parts` are places told by `sgx_ql_set_path`."""

    name: Final = NAME

    def __init__(
        self,
        surroundings: Surroundings,
        reporter: Reporter | None = None,
        *,
        parts: Mapping[Part, Path] | None = None,
        limits: DcapQlLimits = DcapQlLimits(),  # noqa: B008 - frozen
    ) -> None:
        self._surroundings = surroundings
        self._reporter = reporter
        self._parts = dict(parts or {})
        self._limits = limits

    @classmethod
    def found(
        cls, surroundings: Surroundings, reporter: Reporter | None = None
    ) -> "DcapQlAttester":
        """That of a machine, be there one or not: `describe` tells."""
        return cls(surroundings, reporter)

    def describe(self) -> Description:
        """The library, the devices, whether there is a reporter. Nothing is loaded or opened."""
        facts: list[str] = []
        problem = self._problem(facts)
        return described(self.name, "SGX", tuple(facts), problem)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over the reporter's report. Raises `AttesterError` (`attester-dcap-ql-…`, …)."""
        problem = self._problem([])
        if problem is not None:
            raise problem
        assert self._reporter is not None
        data = padded(report_data)
        library = self._library()
        assert library is not None
        with _loaded(library, self._surroundings.environ, self._limits) as process:
            for part, path in self._parts.items():
                process.take(Step(kind="path", part=part, path=os.fsencode(path)))
            target_info = process.take(Step(kind="target-info"))
            report = report_for(self._reporter, target_info, data)
            answered = process.take(Step(kind="quote", report=report.to_bytes()))
        quote = bound_quote(answered, data, by=str(library), tee="SGX")
        expect_over(quote, report, by=str(library))
        return quote

    def _library(self) -> Path | None:
        loader = Loader(self._surroundings.root, self._surroundings.environ)
        found = loader.look_up(LIBRARY).found
        return None if found is None else self._surroundings.root.host(found.place.real)

    def _problem(self, facts: list[str]) -> AttesterError | None:
        """The first thing that is missing; what was found is added to `facts`."""
        uses: tuple[Use, ...] = ("enclave", "provision")
        problems = [problem for use in uses if (problem := self._device(use, facts))]
        if problems:
            return problems[0]
        library = self._library()
        if library is None:
            return AttesterError(
                "attester-dcap-ql-absent",
                f"Intel's quoting library {LIBRARY} is not installed",
                where=LIBRARY,
                mend=f"`{_PACKAGES}` from Intel's repository, where quotes are made in the process",
            )
        facts.append(f"{library}: there")
        if AESM_VARIABLE in self._surroundings.environ:
            return AttesterError(
                "attester-dcap-ql-aesm",
                f"{AESM_VARIABLE} is set: the library would ask AESM, and load nothing itself",
                where=AESM_VARIABLE,
                mend=f"use `--by aesm`, or `unset {AESM_VARIABLE}`",
            )
        return no_reporter(self.name) if self._reporter is None else None

    def _device(self, use: Use, facts: list[str]) -> AttesterError | None:
        found = node_of(self._surroundings.root, use)
        if found is None:
            return AttesterError(
                "attester-sgx-device",
                f"there is no {NODES[use][0]}: the processor has no SGX, it is switched off, or this is "
                "a container that was not given it",
                where=NODES[use][0],
                mend="`dcap doctor --for attester` looks at CPU, BIOS and kernel; "
                "`dcap container-args` on the host prints what a container needs",
            )
        name, place = found
        if os.access(self._surroundings.root.host(place.real), os.R_OK | os.W_OK):
            facts.append(f"{name}: there, and may be opened")
            return None
        facts.append(f"{name}: there, and may not be opened by this user")
        group = "sgx_prv" if use == "provision" else "sgx"
        return AttesterError(
            "attester-sgx-device",
            f"{name} may not be opened by this user",
            where=name,
            mend=f"`ls -lL {name}` names its group: `sudo usermod -aG {group} $USER`, and sign in anew",
        )


class _Process:
    """The library in its process, in our words. Raises `AttesterError`."""

    def __init__(self, library: Path, environ: Mapping[str, str], limits: DcapQlLimits) -> None:
        self._library, self._limits = str(library), limits
        try:
            self._process = IsolatedProcess(_MODULE, (self._library,), environ)
        except (OSError, ValueError) as error:
            raise self._not_loaded(f"no process can be started for it: {error}") from None
        loaded = self._exchange(b"", Loaded, "its loading", limits.load)
        if loaded.error:
            self.end()
            raise self._not_loaded(short(loaded.error))

    def end(self, *, politely: bool = False) -> None:
        """End it; politely, the enclaves are unloaded first."""
        self._process.end(politely=politely)

    def take(self, step: Step) -> bytes:
        """One step, and what it gave."""
        named = {
            "path": "sgx_ql_set_path",
            "target-info": _TARGET_INFO,
            "quote": "sgx_qe_get_quote",
        }
        outcome = self._exchange(frame(step), Outcome, named[step.kind], self._limits.step)
        if outcome.missing:
            raise AttesterError(
                "attester-dcap-ql-symbol",
                f"the library does not export {outcome.function}",
                where=self._library,
                mend="it is not Intel's, or an old one: `dpkg -S` the file, and update its package",
            )
        if outcome.code:
            raise self._refused(outcome)
        if outcome.size is not None:
            what = f"{outcome.function} asks for {outcome.size} bytes, which no quote has"
            raise self._garbage(what)
        return outcome.content

    def _exchange(
        self, request: bytes, kind: type[_Message], name: str, seconds: float
    ) -> _Message:
        try:
            body = self._process.exchange(request, seconds)
            return msgspec.msgpack.decode(body, type=kind)
        except TimeoutError:
            raise AttesterError(
                "attester-dcap-ql-timeout",
                f"the library did not return from {name} within {seconds:g} s{self._said()}",
                where=self._library,
                mend="see whether the PCCS answers that qcnl.conf names: Intel's plugin has no time "
                "limit; `dcap provider test` asks by it alone",
            ) from None
        except EndedError as ended:
            raise AttesterError(
                "attester-dcap-ql-died",
                f"the library {ended.how} in {name}{self._said()}",
                where=self._library,
                mend="any program that loads it would end with it: bring library, plugin and enclaves "
                "to one release; `dcap provider test` tries the plugin alone",
            ) from None
        except (msgspec.DecodeError, ValueError, RecursionError):
            self.end()
            raise self._garbage(f"the library wrote into our pipe in {name}") from None

    def _refused(self, outcome: Outcome) -> AttesterError:
        explained, mend = explain(outcome.function, outcome.code)
        asks = ""
        if outcome.function == _TARGET_INFO and outcome.code in _OF_THE_PLUGIN:
            asks = " (it asks the quote provider plugin for the PCK certificate)"
            mend += "; `dcap provider test` makes the same request alone"
        what = f"{outcome.function} returned {explained}{asks}{self._said()}"
        return AttesterError("attester-dcap-ql-code", what, where=self._library, mend=mend)

    def _said(self) -> str:
        lines = self._process.noise()
        return f'; it said "{short(lines[-1])}"' if lines else ""

    def _not_loaded(self, why: str) -> AttesterError:
        return AttesterError(
            "attester-dcap-ql-load",
            f"the library cannot be loaded: {why}",
            where=self._library,
            mend=f"`ldd {self._library}` shows what it lacks; `{_PACKAGES}` brings it along",
        )

    def _garbage(self, what: str) -> AttesterError:
        return AttesterError(
            "attester-dcap-ql-answer",
            what,
            where=self._library,
            mend="it is not Intel's, or damaged: install its package again",
        )


@contextmanager
def _loaded(library: Path, environ: Mapping[str, str], limits: DcapQlLimits) -> Iterator[_Process]:
    """The process, ended whatever happens."""
    process = _Process(library, environ, limits)
    politely = False
    try:
        yield process
        politely = True
    finally:
        process.end(politely=politely)
