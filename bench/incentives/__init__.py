"""What strategies earn against honest work under the real rules: `python -m bench.incentives`."""
