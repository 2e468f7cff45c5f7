"""
Every contract of this package.
"""

from ._jobs import IJobQueue, IJobStore

__all__ = ["IJobQueue", "IJobStore"]
