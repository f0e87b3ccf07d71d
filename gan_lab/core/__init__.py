"""The adversarial game. It depends on no paper, network, data set or service."""
