"""Helm, asynchronously and typed: the program (`client`), its release records (`releases`) and chart sources
(`repository`).

`process` runs the program, `flags` knows how its major versions differ, `progress` reads what it says while
it works, `failures` says by meaning what went wrong. Nothing in here knows a runbook, Slack or the Kubernetes
client.
"""
