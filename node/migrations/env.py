"""Alembic's environment: migrations run on the connection that node.schema.upgrade hands over."""

from alembic import context

from node.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
