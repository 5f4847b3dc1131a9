"""The good file that the tests of QCNL configurations change, and how they read what came of it."""

from dcap.qpl.qcnl_config import read_qcnl
from dcap.qpl.qcnl_values import QcnlConfig, Reading

URL = "https://pccs.example:8081/sgx/certification/v4/"
GOOD = f'{{\n  "pccs_url": "{URL}",\n  "pccs_api_version": "3.1",\n  "retry_times": 3\n}}\n'
#: The same in the format of before 2022.
LEGACY = f"# ours\n PCCS_URL = {URL}\r\nPCCS_API_VERSION=3.1\nRETRY_TIMES=3\n"
WRITTEN = QcnlConfig(pccs_url=URL, pccs_api_version="3.1", retry_times=3)
DEFAULTS = QcnlConfig()


def read(text: str | bytes) -> Reading:
    """A file of that text."""
    data = text.encode() if isinstance(text, str) else text
    return read_qcnl(data, where="qcnl.conf")


def codes(reading: Reading, *, advice: bool = False) -> list[str]:
    """The remarks that are more than advice (or all)."""
    return [found.code for found in reading.remarks if advice or found.severity != "advice"]


def with_member(member: str) -> str:
    """The good file, and one more member on line 5."""
    return GOOD.replace('"retry_times": 3', f'"retry_times": 3,\n  {member}')


def options(text: str) -> Reading:
    """The good file with those request options."""
    return read(with_member(f'"custom_request_options": {text}'))
