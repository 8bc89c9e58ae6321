"""What the runtime APIs answer: pure functions of the state."""
