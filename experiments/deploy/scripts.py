"""The scripts, units and policy templates that `fgl deploy init` writes."""

from experiments.deploy.hosts import Hosts, NodeHost

_ENVIRONMENT = """cd "$(dirname "$0")"
export PATH="${FGL_VENV:+$FGL_VENV/bin:}$PATH"   # where flwr and fgl are installed
export FLWR_HOME="$PWD/flwr" FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
export FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION=1 RAY_USAGE_STATS_ENABLED=0
"""

HERE = "@HERE@"  # in connection.toml: the folder that it lies in
_CONNECTION = f"""mkdir -p "$FLWR_HOME" && sed "s|{HERE}|$PWD|" connection.toml > "$FLWR_HOME/config.toml"
"""

_POLICY = """# What may leave this node, whatever the server asks for; docs/nodes.md explains each key.
# A key left out forbids nothing.

# levels = ["class", "class-style"]     # prompt levels that may be answered; without this line: all
# otherwise = "class-style"             # what to answer where another one is asked for: a level, or "refuse"
min-images = 1                          # images that must stand behind a prompt or a class (k-anonymity)
max-prompts = 0                         # prompts of a reply; 0: no limit
max-bytes = 0                           # bytes of a reply to a prompt round; 0: no limit
never-mention = []                      # classes whose images are as if they were not there
training = true                         # may models be trained on the images?
evaluation = true                       # may models be evaluated on them?
"""

_UNIT = """[Unit]
Description={what} of the federation {name}
After=network-online.target
Wants=network-online.target

[Service]
# Set WorkingDirectory, FGL_VENV and User for this machine, then: systemctl enable --now {file}
WorkingDirectory=/etc/fgl
Environment=FGL_VENV=/opt/fgl/.venv
User=fgl
ExecStart=/etc/fgl/start.sh
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
"""


def policy() -> str:
    """Return an owner's rules that forbid nothing, every key explained."""
    return _POLICY


def unit(what: str, name: str, file: str) -> str:
    """Return a systemd unit that runs a host's start.sh."""
    return _UNIT.format(what=what, name=name, file=file)


def server_start(hosts: Hosts) -> str:
    """Return the script that starts the SuperLink; with its database it goes on where it stopped."""
    command = [
        "exec flower-superlink",
        f"--host 0.0.0.0 --port {hosts.server.port}",
        "--ssl-ca-certfile ca.crt --ssl-certfile server.pem --ssl-keyfile server.key",
        '--enable-supernode-auth --database state.db --log-file superlink.log "$@"',
    ]
    return f"#!/bin/sh\n# The SuperLink of {hosts.name}.\n{_ENVIRONMENT}" + " \\\n  ".join(command) + "\n"


def server_register(hosts: Hosts) -> str:
    """Return the script that lets the nodes in; run it once the SuperLink is up, and again after adding one."""
    head = f"#!/bin/sh\n# Register the nodes of {hosts.name} at its SuperLink.\n{_ENVIRONMENT}{_CONNECTION}"
    lines = [f"flwr supernode register nodes/{name}.pub {hosts.name} --name {name}\n" for name in hosts.nodes]
    return head + "".join(lines)


def connection(hosts: Hosts) -> str:
    """Return FLWR_HOME/config.toml of the server, but for the absolute path of its folder, which Flower asks for."""
    return (
        f'[superlink]\ndefault = "{hosts.name}"\n\n[superlink.{hosts.name}]\n'
        f'address = "{hosts.server.address}:{hosts.server.port}"\nroot-certificates = "{HERE}/ca.crt"\n'
    )


def node_config(number: int, count: int, node: NodeHost) -> str:
    """Return a SuperNode's --node-config."""
    told = {
        "data": node.data,
        "data-config": node.data_config,
        "columns": node.columns,
        "labels": node.labels,
        "domain": node.domain,
    }
    pairs = [f"partition-id={number} num-partitions={count}"]
    pairs += [f'{key}="{value}"' for key, value in told.items() if value]
    return " ".join(pairs)


def node_start(hosts: Hosts, name: str, number: int) -> str:
    """Return the script that starts a SuperNode."""
    node = hosts.nodes[name]
    own = node_config(number, len(hosts.nodes), node).replace("\\", "\\\\").replace('"', '\\"')
    command = [
        "exec flower-supernode",
        f"--superlink {hosts.server.address}:{hosts.server.port} --root-certificates ca.crt",
        f"--auth-supernode-private-key node.key --port {node.port or 9094 + number}",
        f'--node-config "{own} policy=\\"$PWD/policy.toml\\" log=\\"$PWD/sent.jsonl\\"" "$@"',
    ]
    return f"#!/bin/sh\n# The node {name} of {hosts.name}.\n{_ENVIRONMENT}" + " \\\n  ".join(command) + "\n"
