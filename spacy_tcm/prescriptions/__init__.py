"""Prescriptions: their grammar, and what a pharmacist is told of them."""
