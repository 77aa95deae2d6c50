"""The probe: a short program inside the cluster that looks at a PostgreSQL, a Redis or a Qdrant, and says what is there.

It only reads. It gets the password from its environment (Kubernetes puts it there) and tells it to nobody; ``result`` is what
it prints, ``bot.kube.probejob`` is who starts it.
"""
