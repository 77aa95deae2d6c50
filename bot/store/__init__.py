"""The journal and what belongs to it: tables, runs, approvals, leases, outbox, audit. SQLAlchemy lives here only."""
