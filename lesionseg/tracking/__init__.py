"""What runs leave: run directories, MLflow, and sweeps in both. The only place with MLflow."""
