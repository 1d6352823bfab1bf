"""Does the model ship? The recipe's gate decides; MLflow keeps the record, the versions and the alias."""
