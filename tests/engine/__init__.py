"""Journal and engine on real databases, with scripted step kinds instead of a cluster."""
