"""
The stores of durable jobs, and all SQL of the package.

Importing this package imports nothing else: C{_base}, which every store shares, works
without SQLAlchemy. The store in a file is in L{ganeti_pool.store.sqlite}.
"""

__all__: list[str] = []
