"""
C{twistd ganeti-pool}: its options, and the service that they ask for.

Importing this needs no extra, so that C{twistd --help} works without; what
does is imported when the service is made.
"""

from ._make import makeService
from ._options import Options

__all__ = ["Options", "makeService"]
