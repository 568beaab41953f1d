"""Check a program without pytest: `promptcache check -- python agent.py`.

The program runs twice, as the tests do: first hidden, in other surroundings, then as it is. In each
of its Python processes an emulator answers, and the process writes down what it found when it ends.
"""
