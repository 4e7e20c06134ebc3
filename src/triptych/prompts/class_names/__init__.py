"""Names of the classes of well-known data sets, a file each."""
