"""Other queues under the throughput and latency measures, each in an environment of its own."""
