"""What the exporter costs, side by side with a peer and with a floor: `python -m bench`."""
