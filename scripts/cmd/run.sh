#!/usr/bin/env bash
# run.sh NAME [ARGUMENT...]: builds scripts/cmd/NAME and becomes it.
# Not `go run`, which keeps signals from the program and turns every failure
# into status 1 and a line of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
name=$1
shift

need=$(sed -n 's/^go //p' go.mod)
if ! command -v go >/dev/null && [ -x /usr/local/go/bin/go ]; then
	PATH=$PATH:/usr/local/go/bin
fi
if ! command -v go >/dev/null; then
	echo "scripts/$name needs Go $need or newer, and there is no go on PATH. Get it from https://go.dev/dl/" >&2
	exit 1
fi
# A Go that may fetch newer ones by itself (GOTOOLCHAIN=auto) answers with the one it fetched.
have=$(go env GOVERSION 2>/dev/null || (cd / && GOTOOLCHAIN=local go env GOVERSION))
if ! printf '%s\n' "$need" "${have#go}" | sort --check=quiet --version-sort; then
	echo "scripts/$name needs Go $need or newer, and this is $have ($(command -v go)). Get it from https://go.dev/dl/" >&2
	exit 1
fi

[ -x ".bin/$name" ] || echo "Building scripts/cmd/$name, which takes a minute or two the first time." >&2
go build -buildvcs=false -o ".bin/$name" "./scripts/cmd/$name"
exec ".bin/$name" "$@"
