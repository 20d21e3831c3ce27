"""Conversion of whole models between implementations, with a numeric check."""
