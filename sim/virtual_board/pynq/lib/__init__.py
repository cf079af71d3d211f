"""Drivers of IP, those that the stand-in has."""
