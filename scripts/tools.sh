#!/usr/bin/env bash
# Install what the tests check DICOM with: dciodvfy (dicom3tools), dsrdump and storescu (dcmtk), and an archive (orthanc).
# Where they cannot be installed, the tests that need them are skipped and say so.
set -euo pipefail

missing=()
for pair in dciodvfy:dicom3tools dsrdump:dcmtk Orthanc:orthanc; do
    PATH="$PATH:/usr/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit
fi
if command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; then
    echo "Installing ${missing[*]} ..."
    export DEBIAN_FRONTEND=noninteractive
    if { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null 2>&1; then
        exit
    fi
fi
echo "${missing[*]} could not be installed; the tests that need them are skipped. On Debian: apt install ${missing[*]}" >&2
