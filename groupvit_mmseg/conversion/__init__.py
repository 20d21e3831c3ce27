"""Conversion of weights between implementations, each ended by a numeric check."""
