"""A throwaway world for the demo and the tests: control plane, Slack workspace, charts, stand-ins.

Nothing in ``bot``, ``handlers`` or ``runbooks`` imports from here.
"""
