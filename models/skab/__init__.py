"""The SKAB ensemble: a projection and a calibrated detector."""
