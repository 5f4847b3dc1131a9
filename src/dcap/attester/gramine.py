"""Gramine: a program in an enclave writes its report data into a file, and reads a quote from another.

    attester = GramineAttester.found(Surroundings.here())
    quote = attester.quote(report_data)

The files belong to the whole enclave, not to whoever opened them: two threads that quote at once get
each other's quotes, which is noticed (`attester-binding`). The report of the enclave for another enclave
of the machine comes by the same way: `reporter`. Not here: `keys/`; RA-TLS; EPID quotes.

Source: Gramine's manual, "Attestation and Secret Provisioning", and its `libos_fs_attestation.c`;
`quote-provider.md` §5.7; `users-and-interop.md` §2.4.
"""

import errno
import stat
import time
from pathlib import Path
from typing import Final

from dcap.attester.attester import REPORT_DATA_SIZE, Description, Reporter, described, padded
from dcap.attester.bound_quote import bound_quote
from dcap.attester.pseudo_file import read_answer, write_whole
from dcap.attester.surroundings import Surroundings
from dcap.errors import AttesterError
from dcap.formats.local_report import REPORT_SIZE, TARGET_INFO_SIZE

NAME: Final = "gramine"
FOLDER: Final = "/dev/attestation"
#: For a FIFO, behind which a simulator stands; a real file answers when it has asked the QE.
SECONDS: Final = 30.0
MANIFEST_LINE: Final = 'sgx.remote_attestation = "dcap"'
_MOST: Final = 64 * 1024
_MOST_TYPE: Final = 64
_RUN: Final = f"run it under gramine-sgx, with `{MANIFEST_LINE}` in its manifest"
_ASK_AESM: Final = (
    "Gramine asks the AESM service of the machine: `dcap doctor --for attester` on the host examines "
    "it, `journalctl -u aesmd` and Gramine's log (loader.log_level) say more"
)


class GramineAttester:
    """The pseudo-files of the enclave that we run in. `seconds` bounds what a FIFO may take."""

    name: Final = NAME

    def __init__(self, surroundings: Surroundings, *, seconds: float = SECONDS) -> None:
        self._surroundings = surroundings
        self._seconds = seconds

    @classmethod
    def found(
        cls, surroundings: Surroundings, _reporter: Reporter | None = None
    ) -> "GramineAttester":
        """That of a machine, be there one or not: `describe` tells. The enclave reports of itself."""
        return cls(surroundings)

    def describe(self) -> Description:
        """What there is: the folder, and which attestation the manifest asks for. Writes nothing."""
        facts, problem = _look(self._surroundings)
        return described(self.name, "SGX", facts, problem)

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes. Raises `AttesterError` (`attester-gramine-…`, `attester-…`)."""
        data = padded(report_data)
        _, problem = _look(self._surroundings)
        if problem is not None:
            raise problem
        _write(self._surroundings.host(f"{FOLDER}/user_report_data"), data, self._seconds)
        file = self._surroundings.host(f"{FOLDER}/quote")
        answered = _read(file, self._seconds)
        if not answered:
            raise AttesterError(
                "attester-gramine-empty",
                "Gramine made no quote: the file is empty",
                where=str(file),
                mend=_ASK_AESM,
            )
        return bound_quote(answered, data, by=str(file), tee="SGX")


def _look(surroundings: Surroundings) -> tuple[tuple[str, ...], AttesterError | None]:
    """What is seen of it, each fact a line, and what keeps it from serving."""
    if surroundings.root.look(FOLDER).kind != "folder":
        return (), AttesterError(
            "attester-gramine-absent",
            f"no {FOLDER}: this program does not run in Gramine's SGX enclave",
            where=FOLDER,
            mend=_RUN,
        )
    if not has_reports(surroundings):
        return (f"{FOLDER}: there, and no report in it",), AttesterError(
            "attester-gramine-absent",
            f"{FOLDER} has no reports: this is Gramine without SGX (gramine-direct)",
            where=FOLDER,
            mend=_RUN,
        )
    kind = _attestation_type(surroundings)
    facts = (f"{FOLDER}: there", f"attestation_type: {kind or 'not told'}")
    # Before it had that file, Gramine made a quote wherever it made the file for one.
    if kind == "dcap" or (not kind and surroundings.root.look(f"{FOLDER}/quote").is_there):
        return facts, None
    what = {
        "epid": "the manifest of this enclave asks for EPID attestation, which Intel has retired",
        "none": "the manifest of this enclave asks for no remote attestation",
        "": "the manifest of this enclave asks for no remote attestation",
    }.get(kind, f"attestation_type is {kind!r}, and not dcap")
    mend = f"put `{MANIFEST_LINE}` into the manifest, and make and sign it again"
    return facts, AttesterError("attester-gramine-type", what, where=FOLDER, mend=mend)


def has_reports(surroundings: Surroundings) -> bool:
    """Whether this enclave makes reports for other enclaves: it does under any type of attestation."""
    return surroundings.root.look(f"{FOLDER}/report").is_there


def reporter(surroundings: Surroundings, *, seconds: float = SECONDS) -> Reporter:
    """This enclave's own reports, for a quoting enclave that is asked by other ways than Gramine's."""

    def report(target_info: bytes, report_data: bytes) -> bytes:
        asked = surroundings.host(f"{FOLDER}/target_info")
        _write(asked, target_info, seconds, TARGET_INFO_SIZE)
        _write(surroundings.host(f"{FOLDER}/user_report_data"), report_data, seconds)
        file = surroundings.host(f"{FOLDER}/report")
        made = _read(file, seconds)
        if len(made) != REPORT_SIZE:
            what = f"{len(made)} bytes: a report has {REPORT_SIZE}"
            raise AttesterError(
                "attester-gramine-empty",
                f"Gramine made no report: {what}",
                where=str(file),
                mend="look at what Gramine printed (loader.log_level)",
            )
        return made

    return report


def _attestation_type(surroundings: Surroundings) -> str:
    """A word; empty where it cannot be read."""
    content = surroundings.root.content(f"{FOLDER}/attestation_type", _MOST_TYPE)
    return content.strip(b"\0 \r\n").decode("ascii", "replace")


def _write(file: Path, content: bytes, seconds: float, size: int = REPORT_DATA_SIZE) -> None:
    """All of it in one write, as the files want it."""
    if len(content) != size:
        raise AttesterError(
            "attester-gramine-write",
            f"{len(content)} bytes: it takes exactly {size}",
            where=str(file),
            mend=f"give {size} bytes",
        )
    try:
        written = write_whole(file, content, time.monotonic() + seconds)
    except TimeoutError:
        raise _silent(file) from None
    except OSError as error:
        raise _failed(file, "written", error) from None
    if written != size:
        raise AttesterError(
            "attester-gramine-write",
            f"only {written} of {size} bytes were taken",
            where=str(file),
            mend="use a Gramine of 1.0 or later: the file takes all bytes in one write",
        )


def _read(file: Path, seconds: float) -> bytes:
    """The file to its end, at most 64 KiB. Only a FIFO, which is none of Gramine's, is waited for."""
    try:
        if stat.S_ISFIFO(file.stat().st_mode):
            return read_answer(file, time.monotonic() + seconds, _MOST)
        with file.open("rb") as opened:
            return opened.read(_MOST)
    except TimeoutError:
        raise _silent(file) from None
    except OSError as error:
        raise _failed(file, "read", error) from None


def _silent(file: Path) -> AttesterError:
    return AttesterError(
        "attester-gramine-silent",
        "nobody answers: it is a FIFO, as `dcap sim up --gramine` makes it, and the simulator is gone",
        where=str(file),
        mend="start the simulator again, or remove the folder",
    )


def _failed(file: Path, done: str, error: OSError) -> AttesterError:
    """What the system says of a file. Of whatever fails behind one that is read, Gramine says EACCES."""
    number = error.errno or 0
    name = errno.errorcode.get(number, str(number))
    meaning, mend = error.strerror or str(error), _ASK_AESM
    if number == errno.EACCES and done == "read":
        meaning = "that is all that Gramine says where it could not have it made"
    elif number in (errno.EACCES, errno.EPERM):
        mend = "run it as the enclave's own user; a manifest need not mount this folder"
    elif number == errno.ENOENT:
        mend = _RUN
    return AttesterError(
        "attester-gramine-file",
        f"{file.name} cannot be {done}: {name}, {meaning}",
        where=str(file),
        mend=mend,
    )
