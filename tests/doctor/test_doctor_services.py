"""Services as the doctor sees them: processes, units with drop-ins, accounts and what those may do."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dcap.doctor.accounts import READ, WRITE, account_named, may, owner_name
from dcap.doctor.services import Service, services
from dcap.doctor.units import unit_named
from dcap.qpl.discovery_root import Root
from doctor.scratch import (
    APP,
    GROUP,
    USER,
    add_aesm,
    add_qgs,
    laptop,
    link,
    process,
    scene,
    sgx_host,
    unit,
    write,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A server with AESM and QGS running."""
    return add_qgs(add_aesm(sgx_host(tmp_path)))


def named(root: Path, name: str) -> Service:
    """The one service of that name."""
    (only,) = [each for each in services(scene(root)) if each.name == name]
    return only


def test_a_running_daemon_is_told_by_its_process_and_its_unit(root: Path) -> None:
    """Name, account with its groups, HOME, start, and what its unit hides."""
    aesmd = named(root, "aesmd")
    assert aesmd.account is not None
    assert (aesmd.account.name, aesmd.account.home) == ("aesmd", "/var/opt/aesmd")
    assert GROUP in aesmd.account.groups
    assert (aesmd.told, aesmd.pid, aesmd.home) == ("process", 700, "/var/opt/aesmd")
    assert aesmd.started == datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert not aesmd.sees("/home/app/x")
    assert aesmd.sees("/homes")
    assert named(root, "qgsd").hidden == ("/home",)


def test_an_environment_never_shows_in_a_text(root: Path) -> None:
    """Secrets of a process's environment stay out of the text of a service."""
    process(root, 700, "aesm_service", uid=USER + 1, environ={"DCAP_PCS_API_KEY": "hush"})
    assert named(root, "aesmd").environ == {"DCAP_PCS_API_KEY": "hush"}
    assert "hush" not in repr(named(root, "aesmd"))


def test_nothing_installed_is_nobody(tmp_path: Path) -> None:
    """A laptop that verifies has no service at all."""
    assert services(scene(laptop(tmp_path))) == ()


def test_ours_and_intel_s_pccs_are_known_by_their_command_lines(tmp_path: Path) -> None:
    """`dcap provider serve`, `dcap pccs serve` and Intel's node program; another python is nobody."""
    root = laptop(tmp_path)
    lines = {
        901: ("python3.11", "/opt/dcap/bin/dcap provider serve"),
        902: ("dcap", "/opt/dcap/bin/dcap pccs serve"),
        903: ("node", "/usr/bin/node pccs_server.js"),
        904: ("python3", "/usr/bin/python3 manage.py runserver"),
        905: ("python", "/usr/bin/python -c forkserver ['/srv/tests/pccs','/srv/tests/provider']"),
    }
    for pid, (command, line) in lines.items():
        process(root, pid, command)
        write(root, f"/proc/{pid}/cmdline", line.replace(" ", "\0"))
    found = [(each.name, each.work) for each in services(scene(root))]
    assert found == [("dcap-provider", "dcap"), ("dcap-pccs", "pccs"), ("pccs", "pccs")]


def test_a_program_that_maps_intel_s_libraries_is_one_of_them(root: Path) -> None:
    """The maps of a process say that it quotes or verifies."""
    process(root, 950, "webapp", uid=APP.uid, environ={"HOME": "/x"})
    write(root, "/proc/950/maps", "7f r-xp 0 0 1 /usr/lib/libsgx_dcap_quoteverify.so.1\n")
    write(root, "/proc/700/maps", "7f r-xp 0 0 1 /usr/lib/libdcap_quoteprov.so.1\n")
    found = [each.name for each in services(scene(root))]
    assert found == ["aesmd", "qgsd", "webapp (950)"]
    program = named(root, "webapp (950)")
    assert (program.account and program.account.name, program.home) == ("app", "/x")
    assert program.restart == "restart webapp (950)"


def test_a_daemon_of_several_processes_is_one_of_each_account(root: Path) -> None:
    """Two of one account are the first of them; one of another account is another service."""
    process(root, 701, "aesm_service", uid=USER + 1)
    assert named(root, "aesmd").pid == 700
    process(root, 702, "aesm_service", uid=APP.uid)
    assert [each.pid for each in services(scene(root)) if each.name == "aesmd"] == [700, 702]


def test_a_process_in_a_container_is_another_machine_s(root: Path) -> None:
    """An aesmd in a container has other files: it is not judged by this machine's."""
    write(root, "/proc/700/cgroup", "0::/system.slice/docker-abc.scope\n")
    assert named(root, "aesmd").pid is None
    write(root, "/proc/1/cgroup", "0::/docker/abc\n")
    assert named(root, "aesmd").pid == 700


def test_drop_ins_add_take_back_and_hide_one_another(tmp_path: Path) -> None:
    """By name in whatever folder; /etc hides /usr/lib; an empty setting takes all before back."""
    root = laptop(tmp_path)
    unit(root, "aesmd", "[Service]\nUser=app\nEnvironment=A=1 'B=two words'\nProtectHome=no\n")
    folder = "aesmd.service.d"
    write(root, f"/usr/lib/systemd/system/{folder}/10-x.conf", "[Service]\nUser=root\n")
    write(
        root, f"/etc/systemd/system/{folder}/10-x.conf", "[Service]\n# User=root\nProtectHome=yes\n"
    )
    write(
        root,
        f"/etc/systemd/system/{folder}/20-y.conf",
        "[Service]\nEnvironment=\nEnvironment=C=3 \\\n  D=4\nEnvironmentFile=-/etc/aesmd.env\n"
        "EnvironmentFile=/etc/none.env\n[Unit]\nEnvironment=Z=0\n",
    )
    write(root, "/etc/aesmd.env", "# a comment\nD='from file'\nE=\n")
    write(root, "/etc/systemd/system.conf.d/a.conf", "[Manager]\nDefaultEnvironment=P=1 C=0\n")
    aesmd = named(root, "aesmd")
    assert aesmd.told == "unit"
    assert dict(aesmd.environ) == {
        "HOME": APP.home,
        "USER": "app",
        "LOGNAME": "app",
        "P": "1",
        "C": "3",
        "D": "from file",
        "E": "",
    }
    assert not aesmd.sees("/home/x")
    found = unit_named(Root(root), "aesmd")
    assert found is not None
    assert [Path(file).name for file in found.files] == ["aesmd.service", "10-x.conf", "20-y.conf"]


def test_a_masked_unit_starts_nothing(tmp_path: Path) -> None:
    """A link to /dev/null: systemd starts no such daemon."""
    root = laptop(tmp_path)
    write(root, "/usr/lib/systemd/system/aesmd.service", "[Service]\nUser=app\n")
    assert len(services(scene(root))) == 1
    write(root, "/dev/null")
    link(root, "/etc/systemd/system/aesmd.service", "/dev/null")
    assert services(scene(root)) == ()


def test_a_dynamic_user_has_no_account_beforehand(tmp_path: Path) -> None:
    """DynamicUser=yes: the account is made at the start, so nothing is claimed of it."""
    root = laptop(tmp_path)
    unit(root, "dcap-provider", "[Service]\nUser=dcap-provider\nDynamicUser=yes\n")
    assert named(root, "dcap-provider").account is None


def test_an_account_of_an_endless_number_is_nobody(tmp_path: Path) -> None:
    """More digits than Python reads as a number, in either file of accounts."""
    root = laptop(tmp_path)
    write(root, "/etc/passwd", f"odd:x:{'9' * 5000}:{'9' * 5000}::/home/odd:/bin/sh\n")
    write(root, "/etc/group", f"odd:x:{'9' * 5000}:odd\n")
    unit(root, "dcap-provider", "[Service]\nUser=odd\n")
    account = named(root, "dcap-provider").account
    assert account is not None
    assert (account.uid, account.groups) == (-1, frozenset())


#: More digits than Python reads as a number.
LONG = b"Uid:\t" + b" ".join([b"9" * 5000] * 4) + b"\n"


@pytest.mark.parametrize("name", ["stat", "status", "cmdline", "environ", "cgroup", "maps"])
@pytest.mark.parametrize("content", [b"", b"\xff\0\xfe=:()", b"1 (x) S 1", LONG])
def test_a_garbled_proc_is_no_crash(root: Path, name: str, content: bytes) -> None:
    """Whatever a file of /proc holds, the daemon is told as far as it can be."""
    write(root, f"/proc/700/{name}", content)
    assert named(root, "aesmd").unit == "aesmd"


def test_what_an_account_may_do_follows_owner_group_and_mode(tmp_path: Path) -> None:
    """The owner's bits, the group's, the others'; every folder above has to be entered; root may all."""
    root = laptop(tmp_path)
    file = write(root, "/srv/deep/file", "", 0o640)
    account, superuser = APP, account_named(Root(root), "root")
    assert superuser is not None

    def can(want: int) -> bool:
        return may(Root(root), account, "/srv/deep/file", want)

    assert (can(READ), can(WRITE)) == (True, False)
    file.chmod(0o604)  # the group's bits alone count for its members
    assert not can(READ)
    file.chmod(0o666)
    assert can(READ | WRITE)
    (root / "srv").chmod(0o750)
    assert can(READ)
    (root / "srv").chmod(0o700)
    assert not can(READ)
    file.chmod(0o000)
    assert may(Root(root), superuser, "/srv/deep/file", WRITE)
    assert not may(Root(root), superuser, "/srv/none", READ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_of_an_owner_the_owner_s_bits_alone_count(tmp_path: Path) -> None:
    """Who owns a file has the owner's bits, whatever the group and the others may do."""
    file = write(laptop(tmp_path), "/srv/file", "", 0o044)
    assert may(Root(tmp_path / "machine"), APP, "/srv/file", READ)
    os.chown(file, APP.uid, -1)
    assert not may(Root(tmp_path / "machine"), APP, "/srv/file", READ)
    file.chmod(0o400)
    assert may(Root(tmp_path / "machine"), APP, "/srv/file", READ)


def test_owners_have_names_where_the_machine_knows_them(tmp_path: Path) -> None:
    """A number that nobody has stays a number; a broken line is passed over."""
    root = laptop(tmp_path)
    with (root / "etc/passwd").open("a") as file:
        file.write("broken:x\nodd:x:no:no::/:/bin/sh\n")
    assert owner_name(Root(root), APP.uid) == "app"
    assert owner_name(Root(root), 4_000_000) == "4000000"
    odd = account_named(Root(root), "odd")
    assert odd is not None
    assert odd.uid == -1
