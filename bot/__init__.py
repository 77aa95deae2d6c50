"""The machine of aeterna-bot: everything that is neither a Slack entry point nor a runbook."""
