"""`dcap.pccs.listener`: room for connections."""

import resource
from collections.abc import Iterator

import pytest

from dcap.errors import ConfigError
from dcap.pccs.listener import SPARE_FILES, listen, make_room


@pytest.fixture
def hard() -> Iterator[int]:
    """The limit of open files that this process may raise its own to; what it was, is put back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_open_files_is_raised_for_connections(hard: int) -> None:
    """As far as needed, and not beyond; what is enough is left alone."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    assert make_room(10) == 10
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 400
    assert make_room(300) == 300
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 300 + SPARE_FILES


def test_there_are_no_more_connections_than_files(hard: int) -> None:
    """Where the limit cannot go so far, those that there is room for."""
    if hard == resource.RLIM_INFINITY:
        pytest.skip("this process may open any number of files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    assert make_room(hard) == hard - SPARE_FILES


@pytest.mark.parametrize(
    ("host", "mend"),
    [("192.0.2.1", "ip address"), ("no-such-host.invalid", "no address has that name")],
)
def test_where_nothing_can_listen_the_fix_fits(host: str, mend: str) -> None:
    """An address of another machine is not mended by ending what listens there."""
    with pytest.raises(ConfigError) as caught:
        listen(host, 0)
    assert (caught.value.code, mend in caught.value.mend) == ("pccs-listen", True)
