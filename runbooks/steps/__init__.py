"""The step kinds: the Python behind one step of a runbook, one module a subject."""
