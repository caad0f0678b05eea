"""What the numbers prove: pairing, sequential tests, scores and drift verdicts, all pure."""
