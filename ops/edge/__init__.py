"""The edge of a cluster: the tape of live streams as a topic of Kafka."""
