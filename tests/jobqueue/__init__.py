"""
Tests for L{ganeti_pool.jobqueue}.
"""
