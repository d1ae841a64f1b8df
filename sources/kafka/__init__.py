"""Topics of Kafka as recordings: a partition grows like a file, its place is the next offset.

The package of the extra is imported by `sources.kafka.client` alone.
"""
