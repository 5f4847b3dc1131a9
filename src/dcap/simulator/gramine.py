"""Gramine's `/dev/attestation`, as a directory of files that a simulated enclave stands behind.

    with gramine(lambda: world.platform("machine"), folder):
        (folder / "user_report_data").write_bytes(report_data)          # 64 bytes
        quote = (folder / "quote").read_bytes()

`attestation_type`, `user_report_data` and `target_info` are plain files; `quote`, `report` and
`my_target_info` answer whoever opens them, by what lies in those at that moment. As in an enclave they
are for one user at a time, and what is written too short counts as followed by zeros, what is too long
as cut off. Not here: `keys/`, EPID quotes, and running anything.

Source: Gramine's manual, "Attestation and Secret Provisioning", and its `libos_fs_attestation.c`;
`quote-provider.md` §5.7; `users-and-interop.md` §2.4.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from dcap.formats.local_report import TARGET_INFO_SIZE, TargetInfo
from dcap.simulator import quoting_enclave
from dcap.simulator.answering_file import answering_file
from dcap.simulator.platform import Platform
from dcap.simulator.reports import make_report

ATTESTATION_TYPE: Final = "attestation_type"
USER_REPORT_DATA: Final = "user_report_data"
TARGET_INFO: Final = "target_info"
_REPORT_DATA_SIZE: Final = 64


@contextmanager
def gramine(
    machine: Callable[[], Platform],
    directory: Path,
    *,
    attestation_type: str = "dcap",
    **identity: object,
) -> Iterator[Path]:
    """Fill `directory`, made where it is missing, until the block ends; then the files are gone.

    `machine` gives the machine as it is at each answer; `identity` are fields of the enclave's report
    (`mr_enclave`, `isv_svn` …). There is a quote only where the type is "dcap". Raises `OSError` where
    the files cannot be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    plain = {
        ATTESTATION_TYPE: attestation_type.encode(),
        USER_REPORT_DATA: bytes(_REPORT_DATA_SIZE),
        TARGET_INFO: bytes(TARGET_INFO_SIZE),
    }

    def read(name: str) -> bytes:
        size = len(plain[name])
        return (directory / name).read_bytes()[:size].ljust(size, b"\0")

    def quote() -> bytes:
        return machine().quote(read(USER_REPORT_DATA), **identity)  # type: ignore[arg-type]

    def report() -> bytes:
        return make_report(machine(), read(TARGET_INFO), read(USER_REPORT_DATA), **identity)

    def my_target_info() -> bytes:
        return TargetInfo.of(quoting_enclave.enclave_report(**identity)).to_bytes()

    answers: dict[str, Callable[[], bytes]] = {"report": report, "my_target_info": my_target_info}
    if attestation_type == "dcap":
        answers["quote"] = quote
    with ExitStack() as stack:
        for name, content in plain.items():
            stack.callback((directory / name).unlink, missing_ok=True)
            (directory / name).write_bytes(content)
        for name, answer in answers.items():
            stack.enter_context(answering_file(directory / name, answer))
        yield directory
