"""
Tests for L{ganeti_pool}, for pytest and for trial.
"""

from hypothesis import settings

# A deadline for each example would measure how busy the machine is.
settings.register_profile("ganeti-pool", deadline=None)
settings.load_profile("ganeti-pool")
