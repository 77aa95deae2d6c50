"""Migration notes, one YAML file a version step; see ``bot.diff.migrations`` for what stands in one."""
