"""
Tests of the distribution, which build it and install it into environments of their own.
"""
