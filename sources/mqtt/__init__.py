"""MQTT: topics of a broker as a live stream."""
