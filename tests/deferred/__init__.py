"""
Tests for L{ganeti_pool.deferred}.
"""
