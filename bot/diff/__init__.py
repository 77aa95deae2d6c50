"""What changes between two states of a release: values, schema, manifests, changelog, notes. Pure functions over JSON."""
