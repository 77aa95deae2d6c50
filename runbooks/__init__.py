"""What is done to the cluster: runbooks and migration notes in YAML, step kinds and checks in Python."""
