"""What can be wrong in a container, as people read it. A table alone: `container` looks."""

from typing import Final

from dcap.doctor.finding import Ailment

AILMENTS: Final[tuple[Ailment, ...]] = (
    Ailment(
        code="container-no-device",
        severity="error",
        title="No SGX or TDX device arrived in the container",
        symptom='In the container, 0xE03F, 0xE00D or "No SGX device"; on its host the same image\'s '
        "program, or `ls /dev/sgx*`, is fine.",
        causes=(
            "The container was started without --device: it gets no node that was not named.",
            "The nodes were named by a path that the host does not have: its driver uses other names.",
            (
                "Kubernetes: the pod asks for none of the resources of Intel's device plugin, or the "
                "plugin does not run on this node."
            ),
        ),
        why="Without the enclave's device no enclave is loaded, so that nothing can be attested.",
        mends=(
            (
                "`docker run $(dcap container-args --docker) IMAGE`, typed on the host: it names the "
                "nodes that this host has."
            ),
            (
                "By hand: `docker run --device /dev/sgx_enclave --device /dev/sgx_provision IMAGE`; "
                "with an older driver `--device /dev/sgx/enclave --device /dev/sgx/provision`."
            ),
            (
                "Kubernetes: limits `sgx.intel.com/enclave: 1`, `sgx.intel.com/provision: 1` and "
                "`sgx.intel.com/epc`: `dcap container-args --k8s`."
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="container-no-provision",
        severity="error",
        title="Only the first of two SGX devices arrived in the container",
        symptom="Enclaves run, and quoting fails with 0xE00D, 0xE035 or SGX error 0x4004.",
        causes=("One --device was given: attestation in the process needs two.",),
        why="The quoting enclaves run in your process and need the provisioning key, which the second "
        "device allows.",
        mends=(
            "Map it as well: `--device /dev/sgx_provision`; Kubernetes: `sgx.intel.com/provision: 1`.",
            (
                "Or quote out of process: mount /var/run/aesmd and set SGX_AESM_ADDR=1 "
                "(`dcap container-args --docker --out-of-proc`)."
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="container-device-names",
        severity="warning",
        title="The devices have other names in the container than programs expect",
        symptom="A program says that there is no SGX device, while another one in the same container "
        "finds it.",
        causes=(
            "The host has an older driver, whose nodes are /dev/sgx/enclave and /dev/sgx/provision.",
            "One node was mapped under the new name, and the other under the old one.",
        ),
        why="Intel's libraries try both names; other programs try one.",
        mends=(
            (
                "Give each node both names: `--device /dev/sgx_enclave:/dev/sgx/enclave`, or "
                "`dcap container-args --docker --old-names`."
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="container-group",
        severity="error",
        title="The container's user is not in the group of the device",
        symptom='0xE00D, 0xE035, SGX error 0x4004 or "Permission denied" on /dev/sgx_provision, for '
        "a user other than root.",
        causes=(
            (
                "The group's number on the host (sgx_prv) is none of the process in the container: "
                "names of groups do not cross over, and `usermod` in the image does not know the number."
            ),
        ),
        why="The node keeps the host's group by its number.",
        mends=(
            (
                "`docker run --group-add $(getent group sgx_prv | cut -d: -f3) …`, the number, not the "
                "name; Kubernetes: `securityContext.supplementalGroups`."
            ),
        ),
        rows=(11,),
    ),
    Ailment(
        code="container-no-configfs",
        severity="warning",
        title="configfs of the trust domain did not arrive in the container",
        symptom='"Failed to get the quote" in the container, while the trust domain itself has quotes.',
        causes=("/sys/kernel/config is not mounted: a container has a /sys of its own.",),
        why="The device makes the report; the quote comes by configfs-tsm, or over vsock, which "
        "Docker's seccomp profile refuses.",
        mends=("`docker run -v /sys/kernel/config:/sys/kernel/config …`.",),
        rows=(16,),
    ),
    Ailment(
        code="container-no-aesm",
        severity="error",
        title="The socket of aesmd did not arrive in the container",
        symptom='AESM error, "cannot connect to aesm", 0xE00E or 0xE03B, with out-of-process quoting.',
        causes=(
            "/var/run/aesmd is not mounted.",
            "The socket alone was mounted, and aesmd was started anew since: it has another now.",
        ),
        why="Out of process, the quote is made by aesmd on the host, which is reached by that socket.",
        mends=("Mount its folder: `-v /var/run/aesmd:/var/run/aesmd`.",),
        rows=(11,),
    ),
    Ailment(
        code="container-no-qcnl",
        severity="error",
        title="The quote provider in the container has no configuration",
        symptom="0xE019 in the container, nothing in the PCCS's log.",
        causes=(
            "/etc/sgx_default_qcnl.conf of the host is not mounted, and the image has none.",
            "QCNL_CONF_PATH names a file of the host.",
        ),
        why="Intel's provider then asks https://localhost:8081, which is the container itself.",
        mends=(
            "`-v /etc/sgx_default_qcnl.conf:/etc/sgx_default_qcnl.conf:ro`; Kubernetes: a ConfigMap.",
        ),
        rows=(2,),
    ),
    Ailment(
        code="container-localhost",
        severity="error",
        title="The configuration names localhost, which here is the container itself",
        symptom="0xE019 in the container, while the host, with the same file, is served.",
        causes=(
            "The PCCS runs on the host, or in another container; the file was copied from there.",
        ),
        why="A container has a network of its own: nothing of the host listens at its localhost.",
        mends=(
            (
                "Name the host, or the PCCS's container or Service, in pccs_url: "
                "`dcap qcnl write --pccs URL`."
            ),
            "Or share the host's network: `docker run --network host …`.",
            (
                "Or `--add-host host.docker.internal:host-gateway` and "
                "`https://host.docker.internal:8081/sgx/certification/v4/`."
            ),
        ),
        rows=(2,),
    ),
    Ailment(
        code="container-no-cache",
        severity="warning",
        title="Nothing in the container can be written to for a cache",
        symptom='"Error creating directory" in the log; each start of the container asks the PCCS '
        "anew.",
        causes=(
            "HOME is not set, or the image's user has none (-u 1000 with no such user in the image).",
            "The container's file system is read-only.",
        ),
        why="Without a cache, an outage of the PCCS is an outage of attestation.",
        mends=(
            (
                "Give it a folder: `--tmpfs /var/cache/dcap:mode=1777 -e AZDCAP_CACHE=/var/cache/dcap "
                "-e XDG_CACHE_HOME=/var/cache/dcap`; a volume in its place outlives the container."
            ),
        ),
        rows=(13,),
    ),
)
