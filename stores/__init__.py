"""Documents of a screen, and the maggma stores that keep them."""
