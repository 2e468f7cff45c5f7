"""
Tests for L{ganeti_pool.cli}.
"""
