"""The search for better settings: Optuna proposes, every trial is a real `train`, and only validation rows are looked at."""
