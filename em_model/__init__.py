"""The band model: from a five-image band to a migration barrier with its uncertainty."""
