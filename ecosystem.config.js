// PM2 processes. Start one with: pm2 start ecosystem.config.js --only miner
// Settings come from flags here, or from CONSTANTINOPLE_… variables in .env; `--help` of each lists them.
// CONSTANTINOPLE_PYTHON names the interpreter when it is not .venv/bin/python.
// PM2 restarts what ended; what hangs is ended by a watchdog: pm2 start ecosystem.config.js --only miner,miner-watchdog
// Logs grow without end unless they are rotated: pm2 install pm2-logrotate

const python = process.env.CONSTANTINOPLE_PYTHON || `${__dirname}/.venv/bin/python`;
const model = process.env.CONSTANTINOPLE_MODEL || "Qwen/Qwen2.5-7B-Instruct";
const pids = `${process.env.PM2_HOME || `${process.env.HOME}/.pm2`}/pids`;

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

function watchdog(name, script, port) {
  const watched = ["--pid-file", `${pids}/${name}-*.pid`, "--program", script];
  return app(`${name}-watchdog`, "deploy/watchdog.py", ["--url", `http://127.0.0.1:${port}/health`, ...watched], 10);
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
    // Needs CONSTANTINOPLE_SOURCE in .env: where epochs are published.
    app("watchtower", "validator/watchtower.py", ["--wallet", "validator", "--hotkey", "default", "--netuid", "97"], 30),
    watchdog("miner", "miners/vllm_miner.py", 8091),
    watchdog("gateway", "validator/hardened_gateway.py", 8081),
    watchdog("auditor", "validator/audit_validator.py", 8082),
  ],
};
