"""Everything that changes parameters, or records that they changed."""
