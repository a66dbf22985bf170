"""Tasks as environments of other libraries."""
