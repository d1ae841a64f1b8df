"""Lines as messages of Kafka topics: the producer, and the follower of the result files."""
