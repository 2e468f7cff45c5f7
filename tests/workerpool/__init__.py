"""
Tests for L{ganeti_pool.workerpool}.
"""
