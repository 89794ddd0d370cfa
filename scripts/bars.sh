#!/usr/bin/env bash
# Runs the bars in full, all or those that are named, and writes docs/bars.md: scripts/bars.sh [clone|start|kills|kills-sled|failover|seeds|catch-up|memory|idle|engines]...
# All of them take about an hour; let nothing else run on the machine meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo test --release --test bars -- --full "$@"
