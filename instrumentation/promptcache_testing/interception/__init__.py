"""Stand between HTTP libraries and the network, one module for each library.

Each module patches classes, so that clients made at import time, with a base URL or with an HTTP
client of the user's are reached too. A library that is not imported yet is patched once it is.
"""
