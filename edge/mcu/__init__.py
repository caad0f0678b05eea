"""Microcontrollers: a program as self-contained C, built and run for the chip."""
