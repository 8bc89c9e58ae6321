// PM2 processes. Start one with: pm2 start ecosystem.config.js --only miner
// Settings come from flags here, or from CONSTANTINOPLE_… variables in .env; `--help` of each lists them.
// CONSTANTINOPLE_PYTHON names the interpreter when it is not .venv/bin/python.

const python = process.env.CONSTANTINOPLE_PYTHON || `${__dirname}/.venv/bin/python`;
const model = process.env.CONSTANTINOPLE_MODEL || "Qwen/Qwen2.5-7B-Instruct";

function app(name, script, args, stopSeconds) {
  return {
    name,
    script,
    args,
    cwd: __dirname,
    interpreter: python,
    autorestart: true,
    // Exit status 2 means that a setting is wrong: starting again would not help.
    stop_exit_codes: [0, 2],
    exp_backoff_restart_delay: 1000,
    kill_timeout: stopSeconds * 1000,
    time: true,
  };
}

module.exports = {
  apps: [
    app(
      "miner",
      "miners/vllm_miner.py",
      ["--model", model, "--port", "8091", "--gpu-memory-utilization", "0.70", "--hf-device", "cpu"],
      60,
    ),
    app(
      "gateway",
      "validator/hardened_gateway.py",
      ["--port", "8081", "--model", model, "--netuid", "97", "--discover"],
      60,
    ),
    app(
      "auditor",
      "validator/audit_validator.py",
      ["--port", "8082", "--model", model, "--wallet", "validator", "--hotkey", "default", "--netuid", "97"],
      60,
    ),
  ],
};
