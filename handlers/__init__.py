"""Slack entry points, one module a command family: parse, authorise, journal, answer."""
