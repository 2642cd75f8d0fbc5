"""The jobs of a screen, one module per stage."""
