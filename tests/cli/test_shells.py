"""
Tests for the completion in the shells themselves, and with a daemon.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from unittest import SkipTest

from ..daemoncase import COMMAND, PATIENCE, DaemonCase

BASH = """
source <(ganeti-pool completion bash)
for line; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    "$(complete -p ganeti-pool | sed 's/.* -F \\([^ ]*\\) .*/\\1/')" ganeti-pool
    echo "${COMPREPLY[*]}"
done
"""

ZSH = """
compdef() { completer=$1 }
compadd() { offered+=($completions) }
_describe() { offered+=(${completions_with_descriptions%%:*}) }
source <(ganeti-pool completion zsh)
for line; do
    words=("${(@s: :)line}")
    CURRENT=$#words
    offered=()
    $completer
    print -r -- $offered
done
"""
"""
What is defined here is what zsh's own completion defines otherwise, which works
only while somebody types.
"""

FISH = """
ganeti-pool completion fish | source
for line in $argv
    echo (complete --do-complete $line | string split --fields 1 \\t)
end
"""

SHELLS = {
    "bash": ("--norc", "-c", BASH, "bash"),
    "zsh": ("-f", "-c", ZSH, "zsh"),
    "fish": ("--no-config", "-c", FISH, "--"),
}


class ShellTests(DaemonCase):
    """
    Tests for what a shell completes with the script that it gets.
    """

    def completed(self, shell: str, *lines: str) -> list[list[str]]:
        """
        Complete the last word of each of some lines.

        @return: the words for each; fish has them in its own order.
        """
        if shutil.which(shell) is None:
            raise SkipTest(f"{shell} is not installed")
        done = subprocess.run(
            [shell, *SHELLS[shell], *lines],
            env={
                **os.environ,
                "PATH": os.pathsep.join([os.path.dirname(COMMAND), os.environ["PATH"]]),
                "HOME": str(self.scratch),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [line.split() for line in done.stdout.split("\n")[:-1]]

    def checkWords(self, shell: str, equals: Sequence[str]) -> None:
        """
        Check what needs no daemon.

        @param equals: a line that has an option with an equals sign, as the shell
            has it, and what that gives.
        """
        line, *words = equals
        found = self.completed(
            shell,
            "ganeti-pool res",
            "ganeti-pool list --state ",
            "ganeti-pool list -o id,na",
            "ganeti-pool submit --priority ",
            f"ganeti-pool list {line}",
            f"ganeti-pool --state-dir {self.state} show ",
        )
        self.assertEqual(
            [sorted(offered) for offered in found],
            [
                ["resize", "resume"],
                ["cancelled", "failed", "queued", "running", "succeeded"],
                ["id,name"],
                ["high", "low", "normal"],
                words,
                [],  # there is no daemon
            ],
        )

    def test_bash(self) -> None:
        """
        bash completes verbs, states, columns and priorities.
        """
        self.checkWords("bash", ["--state = ru", "running"])

    def test_zsh(self) -> None:
        """
        zsh completes verbs, states, columns and priorities.
        """
        self.checkWords("zsh", ["--state=ru", "--state=running"])

    def test_fish(self) -> None:
        """
        fish completes verbs, states, columns and priorities.
        """
        self.checkWords("fish", ["--state=ru", "--state=running"])

    def test_jobs(self) -> None:
        """
        The ids of jobs come from the daemon that the line names.
        """
        daemon = self.start()
        self.run_("pause", check=True)
        first, second = daemon.submit(*({"args": [["true"], {}]} for _ in range(2)))
        command = f"ganeti-pool --state-dir {self.state}"
        for shell in SHELLS:
            if shutil.which(shell) is not None:
                (jobs,) = self.completed(shell, f"{command} cancel ")
                self.assertEqual(sorted(jobs), [str(first), str(second)], shell)
