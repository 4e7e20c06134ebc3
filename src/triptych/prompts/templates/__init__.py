"""Sets of templates, a file each."""
