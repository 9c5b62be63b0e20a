#!/bin/sh
# Stands in for NVIDIA's container hook: the engine accepts GPU reservations, what each asks for is noted, and the
# container starts with no GPU in it.
bundle=$(sed -n 's/.*"bundle":"\([^"]*\)".*/\1/p')
grep -oE '"NVIDIA_[A-Z_]+=[^"]*"' "$bundle/config.json" | tr '\n' ' ' >>"$(dirname "$0")/../gpu-requests.log"
echo >>"$(dirname "$0")/../gpu-requests.log"
