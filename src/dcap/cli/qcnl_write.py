"""`dcap qcnl write`: make a configuration of Intel's quote provider library, or bring one up to date.

What is written stands in `dcap.qpl.qcnl_profiles`, how it replaces a file in `qcnl_file`.
"""

import difflib
import os
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from dcap.cli import output
from dcap.errors import ConfigError
from dcap.qpl import qcnl_profiles
from dcap.qpl.qcnl_checks import without_credentials, without_secrets
from dcap.qpl.qcnl_config import SYSTEM_PATH, VARIABLE, configured_path, load_qcnl, read_qcnl
from dcap.qpl.qcnl_file import refuse_what_is_no_file, replace_file
from dcap.qpl.qcnl_values import Reading

_RESTART = "sudo systemctl restart aesmd qgsd"
_UNCHECKED = (
    "use_secure_cert is false: the certificate of no server is checked; whoever is on the way can read "
    "requests and replace answers. --ca FILE, with the steps it prints, is better"
)
_MAX_CA = 256 * 1024


@click.command("write")
@click.option("--intel-pcs", is_flag=True, help="Collateral from Intel itself: to verify only.")
@click.option("--azure", is_flag=True, help="A confidential machine in Azure.")
@click.option("--alibaba", metavar="REGION", help="A machine in Alibaba Cloud: cn-hangzhou …")
@click.option("--pccs", "url", metavar="URL", help="An own PCCS: https://host:8081/…")
@click.option("--self-signed", is_flag=True, help="With --pccs: do not check its certificate.")
@click.option("--ca", metavar="FILE", help="With --pccs: its CA; prints how to install that.")
@click.option("--migrate", is_flag=True, help="Turn an old file (KEY=value, /v3/) into today's.")
@click.option("--from", "origin", metavar="FILE", help="Start from FILE, not from what is there.")
@click.option("--output", "target", metavar="FILE", help="Write FILE (- is stdout).")
@click.option("--dry-run", is_flag=True, help="Show the difference; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object.")
def write(
    *,
    intel_pcs: bool,
    azure: bool,
    alibaba: str | None,
    url: str | None,
    self_signed: bool,
    ca: str | None,
    migrate: bool,
    origin: str | None,
    target: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a configuration that Intel's library obeys; what you set elsewhere in it stays.

    It goes to --output, else to $QCNL_CONF_PATH, else to /etc/sgx_default_qcnl.conf. The old file is
    kept beside it (.bak). --pccs and --intel-pcs may be given together: quotes by the PCCS,
    collateral from Intel.
    """
    modes = [azure, alibaba is not None, url is not None or intel_pcs, migrate]
    if sum(modes) != 1:
        raise click.UsageError("give one of --intel-pcs, --azure, --alibaba, --pccs, --migrate")
    if (self_signed or ca) and url is None:
        raise click.UsageError("--self-signed and --ca go with --pccs")
    if self_signed and ca:
        raise click.UsageError("give --self-signed or --ca: with its CA known, it can be checked")
    decided: dict[str, Any] = {}
    command = "dcap qcnl write"
    if azure:
        decided, command = qcnl_profiles.azure(), f"{command} --azure"
    elif alibaba is not None:
        decided, command = qcnl_profiles.alibaba(alibaba), f"{command} --alibaba {alibaba}"
    elif migrate:
        decided, command = qcnl_profiles.migration(), f"{command} --migrate"
    if url is not None:
        decided = qcnl_profiles.pccs(url, self_signed=self_signed)
        command = f"{command} --pccs {without_credentials(decided['pccs_url'])}"
    if intel_pcs:
        decided |= qcnl_profiles.intel_pcs()
        command = f"{command} --intel-pcs"
    advice = [*_ca_advice(Path(ca))] if ca else []
    path = None if target == "-" else Path(target) if target else configured_path(os.environ)
    reading = _start(path, origin, migrate=migrate)
    settings = qcnl_profiles.settle(reading, decided)
    text = qcnl_profiles.render(settings, " ".join(command.split()))
    _Writing(path, reading, decided, settings, text, advice, source=origin).carry_out(
        dry_run=dry_run, as_json=as_json
    )


def _start(path: Path | None, origin: str | None, *, migrate: bool) -> Reading:
    """The configuration to start from: a named file, or what is at the target."""
    if path is not None:
        refuse_what_is_no_file(path)
    file = Path(origin) if origin else path or (configured_path(os.environ) if migrate else None)
    if file is None:
        return read_qcnl(b"", where="")
    reading = load_qcnl(os.environ, path=file)
    if reading.format == "absent" and (origin or file.exists()):
        raise ConfigError(
            "file-unreadable",
            "what it sets cannot be read, and would be lost",
            where=str(file),
            mend="check its name and permissions, or become root (sudo)",
        )
    if migrate and reading.format in {"absent", "empty"}:
        raise ConfigError(
            "qcnl-nothing-to-migrate",
            "there is no configuration to migrate",
            where=str(file),
            mend="write a new one with --intel-pcs, --azure, --alibaba or --pccs",
        )
    return reading


class _Writing:
    """One file to be written, and what is said of it."""

    def __init__(
        self,
        path: Path | None,
        reading: Reading,
        decided: dict[str, Any],
        settings: dict[str, Any],
        text: str,
        advice: list[str],
        *,
        source: str | None,
    ) -> None:
        self.path = path
        self.reading = reading
        self.settings = settings
        self.text = text
        self.advice = advice
        self.kept = qcnl_profiles.kept_keys(reading, decided, settings)
        same_file = source is None or (path is not None and Path(source) == path)
        self.up_to_date = (
            path is not None and same_file and qcnl_profiles.is_up_to_date(reading, settings)
        )

    def carry_out(self, *, dry_run: bool, as_json: bool) -> None:
        """Write, or show, or say that nothing is to be done."""
        if self.settings.get("use_secure_cert") is False:
            output.warn(_UNCHECKED)
        if self.path is None and not as_json:
            output.emit({}, self.text.splitlines(), as_json=False)
            for line in self.advice:
                output.warn(line)
            return
        if dry_run or self.up_to_date or self.path is None:
            backup = None
        else:
            backup = replace_file(self.path, self.text)
        changed = not (dry_run or self.up_to_date or self.path is None)
        document = {
            "file": str(self.path or "-"),
            "changed": changed,
            "up_to_date": self.up_to_date,
            "backup": str(backup) if backup else None,
            "kept": self.kept,
            "advice": self.advice,
            "content": None if changed or self.up_to_date else self.text,
        }
        if self.up_to_date:
            lines = [f"up to date: {self.path} already says so, and Intel's library obeys it"]
        elif dry_run or self.path is None:
            lines = [*self._difference(), f"nothing was written to {self.path}"]
        else:
            lines = [*self._written(self.path, backup)]
        output.emit(document, [*lines, *self.advice], as_json=as_json)

    def _difference(self) -> Iterator[str]:
        old = self.path.read_bytes() if self.path is not None and self.path.is_file() else b""
        for line in difflib.unified_diff(
            old.decode("utf-8", "replace").splitlines(),
            self.text.splitlines(),
            fromfile=str(self.path),
            tofile=f"{self.path} (new)",
            lineterm="",
        ):
            yield without_secrets(line, self.reading.config)

    def _written(self, path: Path, backup: Path | None) -> Iterator[str]:
        yield f"written  {path}"
        if self.kept:
            yield f"kept     {', '.join(self.kept)}"
        if backup:
            yield f"backup   {backup} (your comments are there)"
        if "pccs_url" not in self.settings:
            yield "note     no pccs_url: this machine can verify, but has no PCK certificates to quote"
        yield f"next     {_RESTART}   (those of them that run: each reads the file once)"
        if path != SYSTEM_PATH:
            found = shlex.quote(str(path.absolute()))
            yield f"         Intel's library finds it by {VARIABLE}={found} alone,"
            yield "         which must be in the environment of the program or daemon that loads it"


# ── a CA ────────────────────────────────────────────────────────────────────────────────────────


def _ca_advice(path: Path) -> Iterator[str]:
    """The steps that make Intel's library trust a CA: it has no key for one, only the system's store."""
    encoded_as_pem = _check_ca(path)
    name, quoted = f"{path.stem or 'pccs'}.crt", shlex.quote(str(path))
    yield "Intel's library has no setting for a CA: it trusts the system's store alone. As root:"
    if encoded_as_pem:
        yield f"  install -m 644 {quoted} {shlex.quote(f'/usr/local/share/ca-certificates/{name}')}"
    else:
        there = shlex.quote(f"/usr/local/share/ca-certificates/{name}")
        yield f"  openssl x509 -inform der -in {quoted} -out {there}"
    yield "  update-ca-certificates"
    yield "  (Red Hat: copy it to /etc/pki/ca-trust/source/anchors/ and run update-ca-trust)"


def _check_ca(path: Path) -> bool:
    """Whether a file is one certificate in PEM; `False` for DER. Raises `ConfigError` (`qcnl-ca`)."""
    from cryptography import x509  # noqa: PLC0415 - of no use to the other options

    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CA)
    except OSError as error:
        raise ConfigError(
            "file-unreadable",
            f"cannot be read: {error.strerror or error}",
            where=str(path),
            mend="check its name and permissions",
        ) from None
    pem = b"-----BEGIN CERTIFICATE-----" in data
    try:
        found = (
            x509.load_pem_x509_certificates(data) if pem else [x509.load_der_x509_certificate(data)]
        )
    except ValueError:
        found = []
    if len(found) != 1:
        raise ConfigError(
            "qcnl-ca",
            f"it holds {len(found) or 'no'} certificates that can be read, not one",
            where=str(path),
            mend="give the CA's certificate alone, in PEM or DER (no key, no chain)",
        )
    if found[0].not_valid_after_utc < datetime.now(UTC):
        raise ConfigError(
            "qcnl-ca",
            f"the certificate has expired on {found[0].not_valid_after_utc:%Y-%m-%d}",
            where=str(path),
            mend="get a new one from whoever runs the PCCS",
        )
    return pem
