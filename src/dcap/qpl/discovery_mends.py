"""The commands that mend an installation of plugins, as a person would type them. None is run here."""

import posixpath
import shlex
from collections.abc import Iterable
from typing import Final

from dcap.qpl.discovery_root import Root
from dcap.qpl.discovery_values import Candidate

#: Library -> its package on Debian and Ubuntu, and on Fedora and RHEL.
_PACKAGES: Final = {
    "libcurl.so.4": ("libcurl4", "libcurl"),
    "libcrypto.so.3": ("libssl3", "openssl-libs"),
    "libssl.so.3": ("libssl3", "openssl-libs"),
    "libstdc++.so.6": ("libstdc++6", "libstdc++"),
    "libsgx_default_qcnl_wrapper.so.1": ("libsgx-dcap-default-qpl", "libsgx-dcap-default-qpl"),
}
_OLD_OPENSSL: Final = ("libcrypto.so.1.1", "libssl.so.1.1")


def install_libraries(root: Root, libraries: Iterable[str]) -> str:
    """How the libraries that are missing are had."""
    wanted = list(libraries)
    if any(library in _OLD_OPENSSL for library in wanted):
        return "install a newer release of the plugin: this one was built for OpenSSL 1.1"
    debian = root.look("/var/lib/dpkg/status").is_there or not root.look("/usr/bin/rpm").is_there
    packages = [_PACKAGES[one][not debian] for one in wanted if one in _PACKAGES]
    tool = "apt" if debian else "dnf"
    mends = []
    if packages:
        mends.append(f"`sudo {tool} install {' '.join(dict.fromkeys(packages))}`")
    unknown = [library for library in wanted if library not in _PACKAGES]
    if unknown:
        mends.append(f"install {', '.join(unknown)}, and `sudo ldconfig`")
    return ", and ".join(mends)


def keep_one(plugins: Iterable[Candidate]) -> str:
    """For each plugin, one a line, how to be without it."""
    return "\n".join(f"without {one.whose} ({one.number}): {remove(one)}" for one in plugins)


def reinstall(plugin: Candidate) -> str:
    """How the package puts right what it had brought; without one, the thing has to go."""
    if plugin.owner.manager == "dpkg" and plugin.owner.name:
        return f"`sudo apt install --reinstall {plugin.owner.name}`"
    return remove(plugin)


def remove(plugin: Candidate) -> str:
    """How a plugin is taken away: by its package where it has one; links made by hand go too."""
    owner = plugin.owner
    strays = [name.path for name in plugin.names if name.link and not name.owner.name]
    if owner.name:
        commands = [f"sudo apt remove {owner.name}"]
    elif owner.manager == "rpm":
        commands = [f"sudo rpm -e $(rpm -qf {shlex.quote(plugin.real)})"]
        strays = []
    elif plugin.kind == "dcap":
        return "`dcap provider uninstall`"
    else:
        return f"`{remove_names(plugin)}`"
    if strays:
        commands.append(_rm(strays))
    return " and ".join(f"`{command}`" for command in commands)


def remove_names(plugin: Candidate) -> str:
    """Take away the file and all that leads to it."""
    names = [name.path for name in plugin.names]
    if plugin.state != "dangling":
        names.append(plugin.real)
    return _rm(names)


def _rm(paths: Iterable[str]) -> str:
    return f"sudo rm {' '.join(shlex.quote(path) for path in dict.fromkeys(paths))}"


def link(existing: str, new: str) -> str:
    """Make a link: relative where both stand in one folder, so that it holds in an image too."""
    folder, name = posixpath.split(existing)
    target = name if folder == posixpath.dirname(new) else existing
    return f"sudo ln -s {shlex.quote(target)} {shlex.quote(new)}"
