"""
Completion in each shell: click's, and what it does not do.
"""

from __future__ import annotations

from typing import Any

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)

__all__ = ["SHELLS", "useShells"]


class _Equals(ShellComplete):
    """
    Completes the value in C{--option=value}. For bash these are three words; for
    the others one, which the completion replaces.
    """

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[Any]]:
        """
        What may stand in the place of the incomplete word.
        """
        if args[-1:] == ["="]:
            return super().get_completions(args[:-1], incomplete)
        option, equals, value = incomplete.partition("=")
        if not (equals and option.startswith("--")):
            return super().get_completions(args, incomplete)
        return [
            CompletionItem(f"{option}={item.value}", item.type, item.help)
            for item in super().get_completions([*args, option], value)
        ]


class _Bash(_Equals, BashComplete):
    pass


class _Zsh(_Equals, ZshComplete):
    pass


class _Fish(_Equals, FishComplete):
    # Of what click answers, only what stands before the first comma is not part
    # of the completion or its help.
    source_template = FishComplete.source_template.replace(
        'string split ","', 'string split --max 1 ","'
    )


SHELLS: tuple[type[ShellComplete], ...] = (_Bash, _Zsh, _Fish)


def useShells() -> None:
    """
    Have click use these.
    """
    for shell in SHELLS:
        add_completion_class(shell)
