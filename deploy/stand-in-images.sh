#!/usr/bin/env bash
# Where no image can be pulled: make local stand-ins for the base images, under the very names that Dockerfile and
# compose.yaml use, from packages alone. `make containers` calls this; the real images are used wherever they can be.
#
#   stand-in-images.sh MINIO_BINARY WORK_FOLDER
#
# Needs root, and Debian's packages podman, runc, netavark, aardvark-dns and debootstrap. CONTAINERS_CONF and
# CONTAINERS_STORAGE_CONF choose how podman runs and where its images are kept.
set -euo pipefail
minio="$1"
work="$2"
python=docker.io/library/python:3.11-slim-bookworm
redis=docker.io/library/redis:7.4-alpine
s3=quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z
mkdir -p "$work/redis" "$work/minio"

if ! podman image exists "$python"; then
    debootstrap --variant=minbase --include=python3.11,python3.11-venv,python3-pip,ca-certificates,curl \
        bookworm "$work/root" >"$work/debootstrap.log" || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    for name in python python3; do
        ln -sf /usr/bin/python3.11 "$work/root/usr/local/bin/$name"
    done
    # Packages may come through a mirror whose certificate only this machine knows.
    cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
    rm -f "$work/root/usr/lib/python3.11/EXTERNALLY-MANAGED"
    tar -C "$work/root" -cf - . | podman import --quiet \
        --change 'ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin' - "$python"
    rm -rf "$work/root"
fi

# The official image runs without protected mode; Debian's server has it on.
cat >"$work/redis/Dockerfile" <<END
FROM $python
RUN apt-get update && apt-get install --yes --no-install-recommends redis-server \\
    && mv /usr/bin/redis-server /usr/bin/redis-server.real \\
    && printf '#!/bin/sh\nexec /usr/bin/redis-server.real --protected-mode no "\$@"\n' >/usr/bin/redis-server \\
    && chmod +x /usr/bin/redis-server
END
podman build --quiet --network=host -t "$redis" "$work/redis"

cp -L "$minio" "$work/minio/minio"
printf 'FROM %s\nCOPY minio /usr/bin/minio\nENTRYPOINT ["/usr/bin/minio"]\nCMD ["minio"]\n' "$python" \
    >"$work/minio/Dockerfile"
podman build --quiet --network=host -t "$s3" "$work/minio"
