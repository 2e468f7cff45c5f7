"""
A soak of the pools: many threads, random operations, and books that must balance.

C{python -X dev -m tests.soak} runs it. Submitting threads do random operations on
a pool, round after round; after each round the pool is let become quiet, and
every task, completion and Deferred must be accounted for. The memory that is
traced after the last round must be that after the first.
"""
