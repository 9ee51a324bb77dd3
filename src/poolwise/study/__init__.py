"""Which pooling for which purpose, measured: small networks that differ in nothing else, trained on real images."""
