"""When a retraining may wait for greener power, and how long."""
