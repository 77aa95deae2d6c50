"""Whole journeys: somebody types in Slack, and what comes of it is looked up in the cluster, in Slack and in the stand-ins."""
