"""What runs in and beside the release: Aeterna's API, CloudNativePG, Qdrant, and the health report made of
them.

Each client speaks one documented API over a session that ``bot.kube.access`` opens, and raises errors by
meaning.
"""
