"""Runs the migrations on the database that ``bot.store.database`` hands over; there is no alembic.ini."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool, text

from bot.store.tables import metadata

engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
with engine.connect() as connection:
    if engine.dialect.name == "postgresql":
        # Two replicas that start at once: the second waits here and then finds nothing to do.
        connection.execute(text("SELECT pg_advisory_lock(7246120)"))
        connection.commit()
    context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
engine.dispose()
