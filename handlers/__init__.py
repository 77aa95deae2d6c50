"""Slack entry points: parse, authorise, journal, answer. Nothing here waits for a cluster.

``intake`` acknowledges and queues; ``commands``, ``presses`` and ``dialogs`` do what was asked (``submissions`` acknowledges a
dialog with what came of it); ``answers`` says what came of the others.
"""
