"""Slack entry points: parse, authorise, journal, answer. Nothing here waits for a cluster.

``intake`` acknowledges and queues; ``commands`` and ``presses`` do what was asked; ``answers`` says what came of it.
"""
