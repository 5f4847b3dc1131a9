"""The commands that mend a configuration, with this machine's own paths. None is run here.

Not here: what is wrong (`configuration`, `edits`).
"""

import posixpath
import shlex
from collections.abc import Iterator

from dcap.doctor.accounts import WRITE, may
from dcap.doctor.configured import Configured
from dcap.doctor.finding import Mend
from dcap.doctor.scene import Scene
from dcap.errors import ConfigError
from dcap.qpl.qcnl_config import SYSTEM_PATH, VARIABLE
from dcap.qpl.qcnl_profiles import migration, render, settle
from dcap.sources.specs import AZURE_CHASSIS, CHASSIS


def rewrite(scene: Scene, file: Configured) -> Mend | None:
    """`dcap qcnl write --migrate`, where it would do: all that was meant, and the old file kept."""
    reading, root = file.reading, scene.root
    if reading is None or root.look(file.path).link or root.look(file.path).kind != "file":
        return None
    if not any(origin.kind == "file" for origin in reading.origins.values()):
        return None
    try:
        render(settle(reading, migration()), "dcap qcnl write --migrate")
    except ConfigError:
        return None
    command = tuple(shlex.split(f"dcap qcnl write --migrate{to_file(scene, file)}"))
    folder = posixpath.dirname(file.path)
    mine = all(may(root, scene.account, path, WRITE) for path in (file.path, folder))
    if not mine:
        command = ("sudo", *command)
    weakens = reading.intel.use_secure_cert and not reading.config.use_secure_cert
    return Mend(
        f"`{shlex.join(command)}` writes all of it anew, as Intel's library obeys it; "
        f"the old file stays beside it (.bak)",
        command=command,
        safe=mine and not weakens,
    )


def make_readable(scene: Scene, file: Configured) -> Iterator[Mend]:
    """What lets the readers have the file that they look for, or another one."""
    kind = scene.root.look(file.path or "/").kind if file.path else "absent"
    path = shlex.quote(file.path)
    hidden = [reader for reader in file.readers if "hides" in reader.trouble]
    if hidden:
        yield Mend(
            f"`sudo cp {path} {SYSTEM_PATH}`, and take {VARIABLE} out of the unit: "
            f"`sudo systemctl edit {hidden[0].name}`"
        )
    elif kind == "folder":
        yield Mend(
            f"`sudo rmdir {path}`, and put the file there before it is mounted into a container "
            "(docker makes a folder of a file that is not there)"
        )
    elif kind in ("file", "denied"):
        yield Mend(f"`sudo chmod a+r {path}`; its folders need a+x")
    else:
        if file.named and any(reader.service is None for reader in file.readers):
            yield Mend(f"`unset {VARIABLE}`, if {SYSTEM_PATH} is meant")
        for reader in file.readers:
            if file.named and reader.service is not None and reader.service.unit:
                yield Mend(
                    f"take {VARIABLE} out of the unit, if {SYSTEM_PATH} is meant: "
                    f"`sudo systemctl edit {reader.service.unit}`"
                )
        if file.path:
            first = f"sudo rm {path} && " if scene.root.look(file.path).link else ""
            command = f"{first}sudo dcap qcnl write --output {path} {profile(scene)}"
            yield Mend(f"or write it: `{command}`" if file.named else f"`{command}`")


def profile(scene: Scene) -> str:
    """What to write on this machine."""
    if scene.root.text(f"/{CHASSIS}").strip() == AZURE_CHASSIS:
        return "--azure"
    return "--pccs https://HOST:8081/" if scene.wants("attester") else "--intel-pcs"


def to_file(scene: Scene, file: Configured) -> str:
    """The option that names the file, where the command would not find it by itself."""
    plain = file.path == str(SYSTEM_PATH) and VARIABLE not in scene.environ
    return "" if plain else f" --output {shlex.quote(file.path)}"


def restart(file: Configured) -> Iterator[Mend]:
    """Who has read the old one already."""
    running = [reader.service for reader in file.readers if reader.service and reader.service.pid]
    units = list(dict.fromkeys(each.unit for each in running if each.unit))
    if units:
        yield Mend(
            f"then `sudo systemctl restart {' '.join(units)}`: it is read once, at the start"
        )
    for each in running:
        if not each.unit:
            yield Mend(f"then {each.restart}: it is read once, at the start")
