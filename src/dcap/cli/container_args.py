"""`dcap container-args`: what a container needs of this host, as each tool wants to be told.

    docker run $(dcap container-args --docker) IMAGE
    docker compose -f compose.yaml -f <(dcap container-args --compose --name app) up

stdout holds the arguments or the YAML alone; remarks go to stderr. With `--check`, inside a container,
it says whether they arrived. Not here: what is needed (`attester.container`), the checks
(`doctor.container`).

Source: `quote-provider.md` §5.3; Docker's and Podman's `run`, the Compose specification, Kubernetes' Pod
and the resources of Intel's device plugins.
"""

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from dcap.attester.container import CACHE, Needs, needs_of
from dcap.cli import output
from dcap.errors import AttesterError
from dcap.qpl.discovery_root import Root

_Command = TypeVar("_Command", bound=Callable[..., Any])

WRONG: Final = 7
_DOMAIN: Final = "sgx.intel.com"
_EPC: Final = "10Mi"
_PLAIN: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
#: Of what is handed on as an argument.
_NAME: Final = re.compile(r"[\w/.+@=~-]+")
_WORDS: Final = ("true", "false", "yes", "no", "on", "off", "null", "y", "n")


def _form(name: str, text: str) -> Callable[[_Command], _Command]:
    return click.option(f"--{name}", "form", flag_value=name, help=text)


@click.command("container-args")
@_form("docker", "Arguments of `docker run` (the default).")
@_form("podman", "Arguments of `podman run`.")
@_form("compose", "A service for Docker Compose, in YAML.")
@_form("k8s", "A Pod for Kubernetes, in YAML.")
@click.option("--name", default="app", metavar="NAME", help="The service or container in the YAML.")
@click.option(
    "--out-of-proc",
    is_flag=True,
    help="Quotes are made by the host's aesmd: its socket instead of the provisioning device.",
)
@click.option(
    "--old-names", is_flag=True, help="For older images: the devices as /dev/sgx/… as well."
)
@click.option(
    "--cache",
    metavar="DIR",
    help=f"A folder of the host for {CACHE}: certificates outlive the container.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Look at the host whose files are in DIR, not at this one.",
)
@click.option("--check", is_flag=True, help="Inside a container: say whether all of it arrived.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def command(
    *,
    form: str | None,
    name: str,
    out_of_proc: bool,
    old_names: bool,
    cache: str | None,
    root: Path,
    check: bool,
    as_json: bool,
) -> int:
    """Print what a container needs of this host to make quotes.

    That is: the device nodes that this host has, their groups by number, the configuration of the
    quote provider, a place for caches, and variables.

      docker run $(dcap container-args --docker) IMAGE

    Exit status 7 where this host has no device to give, or, with --check, where one did not arrive.
    """
    files = Root(root)
    environ = os.environ if files.is_running else {}
    if cache and not cache.startswith("/"):
        raise click.BadParameter("not a whole path, from / on", param_hint="--cache")
    if check:
        return _check(files, environ, out_of_proc=out_of_proc, as_json=as_json)
    needs = needs_of(files, environ, out_of_proc=out_of_proc, old_names=old_names)
    if not needs.is_served:
        raise AttesterError(
            "container-no-host-device",
            "this host has no SGX or TDX device to give to a container",
            where="/dev/sgx_enclave, /dev/sgx/enclave, /dev/tdx_guest",
            mend="run it on the host, not in a container; `dcap doctor --for attester` says why",
        )
    _refuse_names(needs, cache)
    value: dict[str, Any] = {"form": form or "docker", **msgspec.to_builtins(needs)}
    if form in ("compose", "k8s"):
        document = (_compose if form == "compose" else _pod)(needs, name, cache)
        value["document"] = document
        lines = list(_yaml(document))
    else:
        value["arguments"] = arguments = list(
            _run(needs, form or "docker", cache, is_root=os.geteuid() == 0)
        )
        lines = [shlex.join(arguments)]
    for remark in needs.remarks:
        output.warn(remark)
    output.emit(value, lines, as_json=as_json)
    return 0


def _refuse_names(needs: Needs, cache: str | None) -> None:
    """Raises `AttesterError` (`container-host-name`) where a path would become another, or an argument.

    `$(…)` of a shell parts at white space and knows no quotes; Docker parts at colons and commas.
    """
    paths = [device.host for device in needs.devices] + [mount.host for mount in needs.mounts]
    for path in (*paths, *((cache,) if cache else ())):
        if not _NAME.fullmatch(path):
            raise AttesterError(
                "container-host-name",
                "this path cannot be given to a container: it has white space, a colon, a comma, a "
                "quote or another sign that a shell or Docker reads",
                where=path,
                mend="give what is meant a plain name, and name that: letters, digits and /._+-@=",
            )


# ── docker and podman ───────────────────────────────────────────────────────────────────────────


def _run(needs: Needs, form: str, cache: str | None, *, is_root: bool) -> Iterator[str]:
    for device in needs.devices:
        same = device.host == device.inside
        yield from ("--device", device.host if same else f"{device.host}:{device.inside}")
    if form == "podman" and needs.groups and not is_root:
        # Rootless: a number of the host is another one inside, where only the caller's own groups hold.
        yield from ("--group-add", "keep-groups")
    else:
        for group in needs.groups:
            yield from ("--group-add", str(group))
    for mount in needs.mounts:
        yield from ("-v", f"{mount.host}:{mount.inside}{':ro' if mount.readonly else ''}")
    if cache:
        yield from ("-v", f"{cache}:{CACHE}")
    else:
        yield from ("--tmpfs", f"{CACHE}:mode=1777")
    for name, value in needs.environment:
        yield from ("-e", f"{name}={value}")


# ── YAML ────────────────────────────────────────────────────────────────────────────────────────


def _compose(needs: Needs, name: str, cache: str | None) -> dict[str, Any]:
    """A service that Compose merges with that of the same name in another file."""
    service: dict[str, Any] = {
        "devices": [f"{device.host}:{device.inside}" for device in needs.devices]
    }
    if needs.groups:
        service["group_add"] = [str(group) for group in needs.groups]
    volumes = [
        f"{mount.host}:{mount.inside}{':ro' if mount.readonly else ''}" for mount in needs.mounts
    ]
    if cache:
        volumes.append(f"{cache}:{CACHE}")
    else:
        service["tmpfs"] = [f"{CACHE}:mode=1777"]
    if volumes:
        service["volumes"] = volumes
    service["environment"] = dict(needs.environment)
    return {"services": {name: service}}


def _pod(needs: Needs, name: str, cache: str | None) -> dict[str, Any]:
    """A Pod to be merged with one's own: devices come from Intel's device plugin, as resources."""
    limits = _limits(needs)
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = []
    for number, mount in enumerate(needs.mounts):
        volume = f"host-{number}"
        kind = "Directory" if mount.folder else "File"
        volumes.append({"name": volume, "hostPath": {"path": mount.host, "type": kind}})
        mounts.append({"name": volume, "mountPath": mount.inside, "readOnly": mount.readonly})
    if any(device.use == "tdx" for device in needs.devices):
        for device in needs.devices:
            if device.use == "tdx":
                node = {"path": device.host, "type": "CharDevice"}
                volumes.append({"name": "tdx-guest", "hostPath": node})
                mounts.append({"name": "tdx-guest", "mountPath": device.inside})
    place = (
        {"hostPath": {"path": cache, "type": "DirectoryOrCreate"}} if cache else {"emptyDir": {}}
    )
    volumes.append({"name": "dcap-cache", **place})
    mounts.append({"name": "dcap-cache", "mountPath": CACHE})
    container: dict[str, Any] = {"name": name, "image": "IMAGE"}
    container["env"] = [{"name": key, "value": value} for key, value in needs.environment]
    if limits:
        container["resources"] = {"limits": limits}
    if any(device.use == "tdx" for device in needs.devices):
        # A node of the host that no device plugin gives is opened by a privileged container alone.
        container["securityContext"] = {"privileged": True}
    container["volumeMounts"] = mounts
    spec: dict[str, Any] = {"containers": [container], "volumes": volumes}
    if needs.groups:
        spec["securityContext"] = {"supplementalGroups": list(needs.groups)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _limits(needs: Needs) -> Mapping[str, str]:
    uses = dict.fromkeys(device.use for device in needs.devices if device.use != "tdx")
    limits = {f"{_DOMAIN}/{use}": "1" for use in uses}
    return {**limits, f"{_DOMAIN}/epc": _EPC} if limits else {}


def _yaml(value: Any, indent: int = 0) -> Iterator[str]:  # noqa: ANN401 - a document
    """Block style for what has members; each text that could be read as something else is quoted."""
    space = "  " * indent
    if isinstance(value, dict):
        for key, part in value.items():
            if part and isinstance(part, dict | list):
                yield f"{space}{_scalar(key)}:"
                yield from _yaml(part, indent + 1)
            else:
                yield f"{space}{_scalar(key)}: {_scalar(part)}"
    else:
        for part in value:
            if isinstance(part, dict):
                first, *others = _yaml(part, indent + 1)
                yield f"{space}- {first.strip()}"
                yield from others
            else:
                yield f"{space}- {_scalar(part)}"


def _scalar(value: Any) -> str:  # noqa: ANN401 - a document
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return msgspec.json.encode(value).decode()


# ── --check ─────────────────────────────────────────────────────────────────────────────────────


def _check(root: Root, environ: Mapping[str, str], *, out_of_proc: bool, as_json: bool) -> int:
    from dcap.attester.container import container_of  # noqa: PLC0415 - what is only for --check
    from dcap.cli.doctor_scene import scene_of  # noqa: PLC0415
    from dcap.cli.doctor_telling import examined, lines_of, value_of  # noqa: PLC0415
    from dcap.doctor import container  # noqa: PLC0415

    if container_of(root, environ) is None:
        raise AttesterError(
            "container-not-inside",
            "this is no container, as far as one can see",
            mend="run --check inside: docker run … IMAGE dcap container-args --check",
        )
    if out_of_proc:
        environ = {"SGX_AESM_ADDR": "1", **environ}
    scene = scene_of(root, environ, roles=frozenset({"attester"}))
    done = examined(scene, container.CHECKS)
    failed = any(each.is_error for each in done)
    if not failed and not needs_of(root, environ).is_served:
        raise AttesterError(
            "container-no-host-device",
            "no device arrived, and the processor, which is the host's, shows neither SGX nor TDX",
            where="/dev/sgx_enclave, /dev/sgx/enclave, /dev/tdx_guest",
            mend="run the container on a host that has one; `dcap doctor --for attester` says which",
        )
    output.emit(value_of(scene, done), lines_of(scene, done, verbose=False), as_json=as_json)
    return WRONG if failed else 0
