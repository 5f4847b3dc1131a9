"""A group of commands whose members are imported when they are called, so that each starts fast."""

import importlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

#: Command -> (module, what it does), or (module, attribute, what it does): the attribute of the module
#: that is the click command, `command` where it is left out.
Members: TypeAlias = Mapping[str, tuple[str, ...]]


class LazyGroup(click.Group):
    """The group, in the order of its table, which is also that in which people meet its members."""

    def __init__(self, *arguments: Any, members: Members, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._members = members

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """The names."""
        return list(self._members)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of that name, its module imported now."""
        if cmd_name not in self._members:
            return None
        module, *attribute, _ = self._members[cmd_name]
        found = getattr(importlib.import_module(module), attribute[0] if attribute else "command")
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in `--help`, without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, told[-1]) for name, told in self._members.items()])
