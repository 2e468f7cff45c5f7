"""
The C{ganeti-pool} command.

It speaks to the daemon through L{ganeti_pool.client} only. Standard output
carries data and nothing else; what went wrong is one sentence on standard
error, and the exit code says which kind it was.

Parsing and running are apart: click makes a coroutine of the arguments
(C{_verbs}), and C{_run} runs it in a reactor. Help, a mistake and the completion
of words need no reactor, and import none.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from ._names import COMPLETION, PROGRAM
from ._streams import complain

__all__ = ["main"]


def main() -> NoReturn:
    """
    Run the command with the arguments of the process: parse, ask the daemon, print.
    The process is to end with it.

    @raise SystemExit: always, with the exit code.
    """
    # To import makes many objects and no garbage, and what is there at the end the
    # system takes back as it is. To look for garbage in both costs a short verb a
    # tenth of its time. While the reactor runs, it is looked for.
    gc.disable()
    try:
        # Here and not above: a base install has none of what this imports, and
        # must be told so in one sentence.
        from ._run import run
        from ._session import Session

        run(Session.ofProcess(), sys.argv[1:])
    except ImportError as missing:
        complain(
            f"{PROGRAM}: the command needs {missing.name}, which is not installed: "
            "pip install 'ganeti-pool[daemon]'",
            sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        # The reactor does not run yet, so nothing has been asked of the daemon.
        if not os.environ.get(COMPLETION):
            complain(f"{PROGRAM}: interrupted before anything was done", sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()
