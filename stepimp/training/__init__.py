"""Training families of denoisers and their judges."""
