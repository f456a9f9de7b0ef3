"""What Typer is told once for all commands: `-h` is `--help`, and flags are shown without the type <bool>."""

from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose flags are shown as they are typed."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with `--help`."""
        return _without_types_of_flags(super().get_params(ctx))


class Group(TyperGroup):
    """The program itself, or a command that has commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, with `--help`."""
        return _without_types_of_flags(super().get_params(ctx))


def program() -> typer.Typer:
    """A Typer app without commands."""
    return typer.Typer(
        cls=Group,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def _without_types_of_flags(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters
