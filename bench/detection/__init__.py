"""What the audits catch, and what they do to honest miners: `python -m bench.detection`."""
