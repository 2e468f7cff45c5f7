"""
The journal of durable jobs: all SQL of the package.

This face imports nothing, so that what is pure in here serves the store in
memory where SQLAlchemy is not installed. The store itself is in
L{ganeti_pool.store.sqlite}.
"""

__all__: list[str] = []
