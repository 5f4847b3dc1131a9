"""`dcap container-args`: what a host's containers are told, in four forms; and `--check` from inside."""

import json
import os
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec.structs import replace

from dcap.attester.container import CACHE, Device, Needs, needs_of
from dcap.cli.container_args import _compose, _pod, _run
from dcap.qpl.discovery_problems import AZURE_TAG, DMI
from dcap.qpl.discovery_root import Root
from doctor.scratch import device, laptop, mounts, sgx_host, tdx_guest, write
from transcripts.desk import Outcome, run

QCNL = "/etc/sgx_default_qcnl.conf"
GID = 64


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A server with SGX, its provisioning device of a group that is not root's."""
    return grouped(sgx_host(tmp_path), "dev/sgx_provision")


def grouped(root: Path, *nodes: str) -> Path:
    """The same with these nodes in a group of their own, where one may give them away."""
    for node in nodes:
        if os.geteuid() == 0:
            os.chown(root / node, -1, GID)
    return root


def group_of(root: Path, node: str) -> str:
    """The number of a node's group."""
    return str((root / node).stat().st_gid)


def told(folder: Path, *given: str) -> Outcome:
    """`dcap container-args` for the host in `folder/machine`."""
    return run(folder, "container-args", "--root", "machine", *given)


def words(folder: Path, *given: str) -> list[str]:
    """The arguments, as a shell splits what `$(…)` prints."""
    outcome = told(folder, *given)
    assert outcome.status == 0, outcome.screen
    assert outcome.out.count("\n") == 1
    assert outcome.out.split() == shlex.split(outcome.out)  # no shell unquotes what $(…) prints
    return outcome.out.split()


def values(arguments: list[str], flag: str) -> list[str]:
    """The values of a flag."""
    return [value for name, value in pairwise(arguments) if name == flag]


# ── docker, podman ──────────────────────────────────────────────────────────────────────────────


def test_both_devices_and_the_groups_number(tmp_path: Path, host: Path) -> None:
    """A present driver: two devices by the names that the host has, and the group by its number."""
    arguments = words(tmp_path, "--docker")
    assert values(arguments, "--device") == ["/dev/sgx_enclave", "/dev/sgx_provision"]
    assert values(arguments, "--group-add") == [group_of(host, "dev/sgx_provision")]
    assert values(arguments, "--tmpfs") == [f"{CACHE}:mode=1777"]
    assert values(arguments, "-e") == [f"AZDCAP_CACHE={CACHE}", f"XDG_CACHE_HOME={CACHE}"]
    assert values(arguments, "-v") == []


def test_without_a_form_it_is_docker(tmp_path: Path, host: Path) -> None:
    """The form that most people want needs no flag."""
    assert host.is_dir()
    assert words(tmp_path) == words(tmp_path, "--docker")


def test_real_nodes_of_the_older_driver(tmp_path: Path, host: Path) -> None:
    """An older driver's host has the nodes under /dev/sgx alone: these are named."""
    for name in ("sgx/enclave", "sgx/provision", "sgx_enclave", "sgx_provision"):
        (host / "dev" / name).unlink()
    device(host, "/dev/sgx/enclave", 0o666)
    device(host, "/dev/sgx/provision", 0o666)
    arguments = words(tmp_path)
    assert values(arguments, "--device") == ["/dev/sgx/enclave", "/dev/sgx/provision"]
    assert values(arguments, "--group-add") == []


def test_older_names_are_given_too_when_asked(tmp_path: Path, host: Path) -> None:
    """An image that opens /dev/sgx/enclave gets the present node under that name."""
    assert host.is_dir()
    assert values(words(tmp_path, "--old-names"), "--device") == [
        "/dev/sgx_enclave",
        "/dev/sgx_enclave:/dev/sgx/enclave",
        "/dev/sgx_provision",
        "/dev/sgx_provision:/dev/sgx/provision",
    ]


def test_out_of_process_the_socket_takes_the_second_devices_place(
    tmp_path: Path, host: Path
) -> None:
    """The folder of aesmd (not its socket, which is new at each start) and the variable; one device."""
    write(host, "/run/aesmd/aesm.socket")
    arguments = words(tmp_path, "--out-of-proc")
    assert values(arguments, "--device") == ["/dev/sgx_enclave"]
    assert values(arguments, "-v") == ["/run/aesmd:/var/run/aesmd:ro"]
    assert "SGX_AESM_ADDR=1" in values(arguments, "-e")


def test_a_daemon_that_does_not_run_is_told(tmp_path: Path, host: Path) -> None:
    """The folder is mapped, and stderr says what is missing in it."""
    assert host.is_dir()
    assert "systemctl start aesmd" in told(tmp_path, "--out-of-proc").err


def test_the_configuration_is_mounted_and_localhost_is_told(tmp_path: Path, host: Path) -> None:
    """qcnl.conf read-only; where it names localhost, that means another machine in there."""
    write(host, QCNL, '{"pccs_url": "https://pccs.example/sgx/certification/v4/"}')
    assert values(words(tmp_path), "-v") == [f"{QCNL}:{QCNL}:ro"]
    assert told(tmp_path).err == ""
    write(host, QCNL, '// localhost\n{"pccs_url": "https://localhost:8081/sgx/certification/v4/"}')
    assert "the container itself" in told(tmp_path).err


def test_azures_noise_is_off_in_azure(tmp_path: Path, host: Path) -> None:
    """In Azure its plugin would print to stdout."""
    write(host, DMI, f"{AZURE_TAG}\n")
    assert "AZDCAP_DEBUG_LOG_LEVEL=FATAL" in values(words(tmp_path), "-e")


def test_a_folder_for_the_cache_outlives_the_container(tmp_path: Path, host: Path) -> None:
    """--cache DIR in place of a tmpfs."""
    assert host.is_dir()
    arguments = words(tmp_path, "--cache", "/srv/cache")
    assert f"/srv/cache:{CACHE}" in values(arguments, "-v")
    assert values(arguments, "--tmpfs") == []


def test_a_folder_for_the_cache_is_a_whole_path(tmp_path: Path, host: Path) -> None:
    """A relative one is a volume's name to Docker, and nothing to Kubernetes."""
    outcome = told(tmp_path, "--cache", "cache")
    assert (outcome.status, outcome.out) == (1, "")
    assert "--cache" in outcome.err


@pytest.mark.parametrize("folder", ["/srv/my cache", "/srv/a:b", "/srv/\x1b[31m"])
def test_a_folder_that_would_become_an_argument_is_refused(
    tmp_path: Path, host: Path, folder: str
) -> None:
    """Of what is typed as of what is found."""
    assert host.is_dir()
    outcome = told(tmp_path, "--cache", folder)
    assert (outcome.status, outcome.out) == (7, "")
    assert "container-host-name" in outcome.err
    assert "\x1b" not in outcome.err


def test_a_trust_domain_gives_its_device_and_configfs(tmp_path: Path) -> None:
    """TDX: the guest's device, its group, and configfs, where reports are made."""
    root = grouped(tdx_guest(tmp_path), "dev/tdx_guest")
    arguments = words(tmp_path)
    assert values(arguments, "--device") == ["/dev/tdx_guest"]
    assert values(arguments, "--group-add") == [group_of(root, "dev/tdx_guest")]
    assert values(arguments, "-v") == ["/sys/kernel/config:/sys/kernel/config"]


def test_vsock_in_a_container_is_told(tmp_path: Path) -> None:
    """A guest that asks QGS over vsock: Docker's profile refuses that, and stderr says so."""
    root = tdx_guest(tmp_path)
    write(root, "/etc/tdx-attest.conf", "port=4050\n")
    outcome = told(tmp_path)
    assert "AF_VSOCK" in outcome.err
    assert "/etc/tdx-attest.conf:/etc/tdx-attest.conf:ro" in outcome.out


def test_podman_of_a_user_keeps_his_groups() -> None:
    """Rootless, numbers of the host mean others inside, and Podman refuses both flags at once."""
    needs = Needs(
        devices=(Device("enclave", "/dev/sgx_enclave", "/dev/sgx_enclave"),), groups=(64,)
    )
    for form, is_root, wanted in (
        ("podman", False, "keep-groups"),
        ("podman", True, "64"),
        ("docker", False, "64"),
    ):
        arguments = list(_run(needs, form, None, is_root=is_root))
        assert values(arguments, "--group-add") == [wanted]


def test_a_node_of_roots_alone_is_told(tmp_path: Path) -> None:
    """Without a udev rule the provisioning device is root's: no group would help."""
    root = sgx_host(tmp_path)
    if (root / "dev/sgx_provision").stat().st_gid != 0:
        pytest.skip("only root can make a file of group 0")
    outcome = told(tmp_path)
    assert "root's alone" in outcome.err
    assert "--group-add" not in outcome.out


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def full(host: Path) -> Path:
    """A host with everything that a container could be given."""
    write(host, "/run/aesmd/aesm.socket")
    write(host, QCNL, '{"pccs_url": "https://pccs.example/sgx/certification/v4/"}')
    write(host, DMI, f"{AZURE_TAG}\n")
    return host


def document(folder: Path, *given: str) -> dict[str, Any]:
    """What is printed, read by a YAML parser; the same as --json says."""
    outcome = told(folder, *given)
    assert outcome.status == 0, outcome.screen
    read: dict[str, Any] = yaml.safe_load(outcome.out)
    assert read == json.loads(told(folder, *given, "--json").out)["document"]
    return read


def test_compose_says_the_same_as_docker(tmp_path: Path, full: Path) -> None:
    """A service of the name that is asked for, to be merged with one's own."""
    given = ("--out-of-proc",)
    service = document(tmp_path, "--compose", "--name", "on", *given)["services"]["on"]
    arguments = words(tmp_path, "--docker", *given)
    assert service["devices"] == [f"{one}:{one}" for one in values(arguments, "--device")]
    assert service["volumes"] == values(arguments, "-v")
    assert service["tmpfs"] == values(arguments, "--tmpfs")
    assert [f"{k}={v}" for k, v in service["environment"].items()] == values(arguments, "-e")
    group = group_of(full, "dev/sgx_provision")
    assert document(tmp_path, "--compose")["services"]["app"]["group_add"] == [group]


def test_a_pod_asks_intels_device_plugin(tmp_path: Path, full: Path) -> None:
    """Kubernetes: resources in place of devices, groups by number, files of the node, a cache."""
    pod = document(tmp_path, "--k8s", "--name", "web")
    (container,) = pod["spec"]["containers"]
    assert container["resources"]["limits"] == {
        "sgx.intel.com/enclave": "1",
        "sgx.intel.com/provision": "1",
        "sgx.intel.com/epc": "10Mi",
    }
    group = int(group_of(full, "dev/sgx_provision"))
    assert pod["spec"]["securityContext"] == {"supplementalGroups": [group]}
    mounted = {one["mountPath"]: one for one in container["volumeMounts"]}
    assert mounted[QCNL]["readOnly"] is True
    assert {one["name"] for one in container["volumeMounts"]} == {
        one["name"] for one in pod["spec"]["volumes"]
    }
    assert {"name": "AZDCAP_CACHE", "value": CACHE} in container["env"]
    assert {"name": "SGX_AESM_ADDR", "value": "1"} not in container["env"]


def test_a_pod_in_a_trust_domain_is_privileged(tmp_path: Path) -> None:
    """No device plugin gives /dev/tdx_guest: a node of the host is opened by who is privileged."""
    tdx_guest(tmp_path)
    pod = document(tmp_path, "--k8s")
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"] == {"privileged": True}
    assert "resources" not in container
    paths = [one["hostPath"]["path"] for one in pod["spec"]["volumes"] if "hostPath" in one]
    assert paths == ["/sys/kernel/config", "/dev/tdx_guest"]


@pytest.mark.parametrize("word", ["yes", "null", "1", "a: b", "a #b", "- a", "é", '"', "0x1f", "~"])
def test_odd_words_survive_yaml(tmp_path: Path, host: Path, word: str) -> None:
    """What YAML would read as something else than text is quoted."""
    assert host.is_dir()
    assert list(document(tmp_path, "--compose", "--name", word)["services"]) == [word]
    assert document(tmp_path, "--k8s", "--name", word)["metadata"]["name"] == word


@pytest.mark.parametrize("form", ["--docker", "--podman", "--compose", "--k8s"])
@pytest.mark.parametrize("name", [b"a --privileged", b"a:b", b"a\nb: c", b"$(id)", b"a,b", b"\xff"])
def test_a_name_that_would_become_an_argument_is_refused(
    tmp_path: Path, host: Path, name: bytes, form: str
) -> None:
    """Nothing unquotes what $(…) prints, Docker parts at colons, YAML holds no odd bytes."""
    device = host / "dev" / os.fsdecode(name)
    (host / "dev/sgx_provision").rename(device)
    (host / "dev/sgx_provision").symlink_to(device.name)
    outcome = told(tmp_path, form)
    assert outcome.status == 7, outcome.screen
    assert "container-host-name" in outcome.screen
    assert outcome.out == ""


def test_both_yaml_forms_are_made_of_the_same_needs(host: Path) -> None:
    """Compose names every device; a pod without groups has no security context."""
    needs = needs_of(Root(host), {})
    inside = {device.inside for device in needs.devices}
    assert {
        one.partition(":")[2] for one in _compose(needs, "a", None)["services"]["a"]["devices"]
    } == inside
    assert len(_pod(replace(needs, groups=()), "a", None)["spec"]) == 2


# ── hosts that have nothing, containers that are asked ──────────────────────────────────────────


def test_a_host_without_devices_is_an_error(tmp_path: Path) -> None:
    """Exit status 7, nothing on stdout for a shell to use, and what to do."""
    laptop(tmp_path)
    outcome = told(tmp_path)
    assert (outcome.status, outcome.out) == (7, "")
    assert "[container-no-host-device]" in outcome.err
    assert "dcap doctor --for attester" in outcome.err


def test_check_says_that_all_arrived(tmp_path: Path, host: Path) -> None:
    """Inside a container with everything: exit status 0."""
    write(host, "/.dockerenv")
    (host / "dev/sgx_provision").chmod(0o666)
    (host / "tmp").chmod(0o1777)
    home = write(host, "/root/x").parent
    home.chmod(0o777)
    outcome = told(tmp_path, "--check")
    assert "arrived: /dev/sgx_enclave, /dev/sgx_provision" in outcome.out
    assert "container-no-device" not in outcome.out
    assert outcome.status == 0, outcome.screen


def test_check_says_what_did_not_arrive(tmp_path: Path, host: Path) -> None:
    """Inside a container without its devices: exit status 7, and the arguments that are missing."""
    write(host, "/run/.containerenv")
    mounts(host)
    for name in ("sgx/enclave", "sgx/provision", "sgx_enclave", "sgx_provision"):
        (host / "dev" / name).unlink()
    outcome = told(tmp_path, "--check")
    assert outcome.status == 7
    assert "[container-no-device]" in outcome.out
    value = json.loads(told(tmp_path, "--check", "--json").out)
    assert "container-no-device" in [each.get("code") for each in value["remarks"]]


def test_check_where_there_was_nothing_to_give_is_no_success(tmp_path: Path) -> None:
    """A container on a laptop: no finding blames the container, and yet no quote is made in there."""
    write(laptop(tmp_path), "/.dockerenv")
    outcome = told(tmp_path, "--check")
    assert (outcome.status, outcome.out) == (7, "")
    assert "shows neither SGX nor TDX" in outcome.err
    assert "[container-no-host-device]" in outcome.err


def test_check_out_of_process_wants_the_socket(tmp_path: Path, host: Path) -> None:
    """With --out-of-proc it is the socket that has to be there."""
    write(host, "/.dockerenv")
    assert "[container-no-aesm]" in told(tmp_path, "--check", "--out-of-proc").out
    assert "[container-no-aesm]" not in told(tmp_path, "--check").out


def test_check_on_a_host_is_an_error(tmp_path: Path, host: Path) -> None:
    """On the host there is nothing to arrive."""
    assert host.is_dir()
    outcome = told(tmp_path, "--check")
    assert (outcome.status, "[container-not-inside]" in outcome.err) == (7, True)
