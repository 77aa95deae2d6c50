"""The life of a run: plan, approve, claim, execute, recover, cancel, schedule. It knows neither Slack nor YAML."""
