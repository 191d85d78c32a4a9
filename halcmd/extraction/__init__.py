"""Boxes around picks: what to cut, and cutting and writing it."""
