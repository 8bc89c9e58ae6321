"""What gateways add to a request: this one, nginx, LiteLLM and vllm-router before a compiled upstream."""
