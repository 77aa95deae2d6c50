"""What a rollback leaves as it is, each kind with its evidence: migrations that ran, claims, what is outside the release.

The plan tells it before anybody approves (``runbooks.checks.staying``), the run once more at its end, as what was left behind.
"""
