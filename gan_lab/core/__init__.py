"""The adversarial game; knows no paper, no network, no data set and no service."""
