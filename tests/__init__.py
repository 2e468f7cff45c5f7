"""
Tests for L{ganeti_pool}, for pytest and for trial.
"""

import signal

from hypothesis import settings

# A deadline for each example would measure how busy the machine is.
settings.register_profile("ganeti-pool", deadline=None)
settings.load_profile("ganeti-pool")

# What a shell starts in the background has Ctrl-C ignored, and so would all that the
# tests start, some of it to be ended that way.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
