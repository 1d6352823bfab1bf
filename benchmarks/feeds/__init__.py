"""What the benchmarks of the feed (P1, P2, P3, P7) share: the rows in every layout, the sides, what a consumer counts."""
