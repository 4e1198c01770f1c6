"""Others who do the work of `benchmarks.work`; none of them knows the product."""
