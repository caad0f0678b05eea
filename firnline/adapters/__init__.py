"""One tool a file: what the flows need, done by Feast, MLflow, DuckDB, DVC or plain files."""
