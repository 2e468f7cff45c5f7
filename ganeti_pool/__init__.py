"""
A thread-safe pool of workers behind one priority queue, for Twisted.
"""
