"""`triptych compare`: two runs beside each other. Imports no torch."""
