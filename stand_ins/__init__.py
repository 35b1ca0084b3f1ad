"""What plays the real thing where there is none, and says so.

A helper imports it when it needs it, not before.
"""
