"""Negation, certainty, temporality and experiencer of the entities of Chinese notes."""
