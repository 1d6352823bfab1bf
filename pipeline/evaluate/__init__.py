"""How good is the trained model? Every row of the test split, intervals, and a report to decide by."""
