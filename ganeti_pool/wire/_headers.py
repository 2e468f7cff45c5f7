"""
Encode and decode the C{Ganeti-Pool-Job} header.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote_to_bytes

from ..errors import InvalidJob
from ..jobs import JobOrigin
from ._checks import Check, Wrong

__all__ = ["ORIGIN", "ORIGIN_HEADER", "formatOrigin", "parseOrigin"]

ORIGIN_HEADER = "Ganeti-Pool-Job"
"""
The header that names the job from which a request comes.
"""

# It leaves open what follows, since the end of a text is not the same to every reader.
_PATTERN = "^[0-9]{1,18} [!-~]+ /[!-~]*"


def _origin(value: str) -> JobOrigin:
    if not re.fullmatch(_PATTERN, value):
        raise Wrong(
            "wrong_type",
            "this must be the id of the job, the host name and the state directory of its daemon, "
            "separated by single spaces, with other spaces as %20",
        )
    jobID, host, directory = value.split(" ")
    return JobOrigin(int(jobID), _decoded(host), _decoded(directory))


def _decoded(text: str) -> str:
    return os.fsdecode(unquote_to_bytes(text))


_ORIGIN = Check({"type": "string", "pattern": _PATTERN}, _origin).saying(
    "The job that sends the request: its id, the name of its host, and the state directory of its "
    "daemon, the latter two percent-encoded. If that job runs in this daemon and the request "
    "would wait for its end, the request is refused with inside_job."
)

ORIGIN: Mapping[str, Check] = {ORIGIN_HEADER: _ORIGIN}
"""
The header that L{parseOrigin} takes, by its name.
"""


def formatOrigin(origin: JobOrigin) -> str:
    """
    The value of the header. It is ASCII.
    """
    host = quote(os.fsencode(origin.host), safe="")
    return f"{origin.jobID} {host} {quote(os.fsencode(origin.stateDirectory))}"


def parseOrigin(values: Sequence[bytes]) -> JobOrigin | None:
    """
    The job that a request comes from.

    @param values: of the header, each time that the request has it.
    @return: L{None} if the request names none.
    @raise InvalidJob: if the header cannot be understood.
    """
    if not values:
        return None
    try:
        if len(values) > 1:
            raise Wrong("duplicate_key", "this can be given once only")
        origin: JobOrigin = _ORIGIN(values[0].decode("latin-1"))
    except Wrong as wrong:
        raise InvalidJob([(ORIGIN_HEADER, wrong.code, wrong.sentence)]) from None
    return origin
