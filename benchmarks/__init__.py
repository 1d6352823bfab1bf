"""Side by side against peers: `python -m benchmarks --list`. How it measures, and what is fair about it: docs/benchmarks.md."""
