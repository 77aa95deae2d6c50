"""Stand-ins for what cannot run in the throwaway cluster: Aeterna's server, Qdrant, OPAL and Cedar."""
