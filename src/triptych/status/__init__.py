"""`triptych status`: how a run fares, read from its directory while it goes on or after."""
