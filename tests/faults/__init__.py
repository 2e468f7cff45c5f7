"""
Faults that the tests of concurrency must see::

    python -m tests.faults
"""
