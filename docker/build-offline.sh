#!/usr/bin/env bash
# docker/build-offline.sh [ARCHIVE]: builds docker/Dockerfile where there is no Docker engine and no image registry, then runs the image
# (scripts/image-check.ts) and writes it to ARCHIVE, which `docker load` takes. As root on Debian, in a checkout where npm ci has run:
#   apt-get install -y --no-install-recommends debootstrap buildah
# In place of the two base images of the Dockerfile it makes its own: Debian by debootstrap, from the mirror that this machine's apt uses or
# that MIRROR and SECURITY_MIRROR name; for the install stage, that with the pinned Node.js of node_modules and this machine's npm.
# BASE_ARCHIVE=FILE keeps the Debian base there between runs.
set -euo pipefail
cd "$(dirname "$0")/.."
archive=${1:-}
suite=bookworm
[ "$(id -u)" -eq 0 ] || { echo 'build-offline: debootstrap and chroot need root.' >&2; exit 1; }

from_apt() { # from_apt LABEL: the address of this machine's own mirror
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" | head -n 1
}
mirror=${MIRROR:-$(from_apt Debian)}
security=${SECURITY_MIRROR:-$(from_apt Debian-Security)}
[ -n "$mirror" ] || { echo 'build-offline: set MIRROR to a mirror of Debian.' >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/sallyport-image-XXXXXX")
# Whoever runs the image without being root has to get through here.
chmod 711 "$work"
store=(--root "$work/storage" --runroot "$work/runroot" --storage-driver "${STORAGE_DRIVER:-overlay}")
b() { buildah "${store[@]}" "$@"; }
cleanup() {
  b umount --all >/dev/null 2>&1 || true
  umount -l "$work/storage/overlay" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
lap=$SECONDS
took() { echo "$1: $((SECONDS - lap)) s"; lap=$SECONDS; }

base=${BASE_ARCHIVE:-$work/base.tar}
if [ ! -e "$base" ]; then
  # On memory where there is some: dpkg syncs each file that it unpacks.
  unpack=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$work")/sallyport-base-XXXXXX")
  trap 'rm -rf "$unpack"; cleanup' EXIT
  debootstrap --variant=minbase "$suite" "$unpack/root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
    { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
  [ -z "$security" ] || echo "deb $security $suite-security main" >>"$unpack/root/etc/apt/sources.list"
  # As Debian's slim images: no documents but the licences, no languages, nothing that is fetched anew.
  find "$unpack/root/usr/share/doc" -type f ! -name copyright -delete
  rm -rf "$unpack/root"/usr/share/{man,info,locale}/* "$unpack/root"/var/{cache/apt/*.bin,cache/apt/archives/*.deb,lib/apt/lists/*,log/*.log}
  tar -C "$unpack/root" -cf "$base.new" . && mv "$base.new" "$base"
  rm -rf "$unpack"
  took 'base by debootstrap'
fi

container=$(b from scratch)
b add --quiet "$container" "$base" / >/dev/null
b config --cmd /bin/sh "$container"
b commit --quiet "$container" localhost/base >/dev/null
b add --quiet "$container" "$(readlink -f node_modules/.bin/node)" /usr/local/bin/node >/dev/null
b add --quiet "$container" "$(dirname "$(dirname "$(readlink -f "$(command -v npm)")")")" /usr/local/lib/node_modules/npm >/dev/null
# Certificates, and libatomic1, of this machine: Debian's image of Node.js has both.
b add --quiet "$container" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt >/dev/null
b add --quiet "$container" "$(readlink -f /usr/lib/*-linux-gnu/libatomic.so.1)" /usr/lib/libatomic.so.1 >/dev/null
# npm as it is set up here: what its user's file says of the way to the packages, in this base of the install stage alone, and its cache at a
# folder that every Debian has, so that the image is left without a trace of either.
npmrc=$work/npmrc
printf 'registry=%s\ncache=/mnt\n' "$(npm config get registry)" >"$npmrc"
[ ! -e "$HOME/.npmrc" ] || grep -v '^cache' "$HOME/.npmrc" >>"$npmrc" || true
b add --quiet "$container" "$npmrc" /root/.npmrc >/dev/null
b config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt "$container"
b run --isolation chroot "$container" ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
b commit --quiet "$container" localhost/install >/dev/null
b rm "$container" >/dev/null
took 'base images'

b build --quiet --isolation chroot --format docker --pull-never --ignorefile docker/Dockerfile.dockerignore -f docker/Dockerfile \
  --build-arg BASE_IMAGE=localhost/base --build-arg INSTALL_IMAGE=localhost/install \
  --build-arg REVISION="$(git rev-parse HEAD 2>/dev/null || echo unknown)" \
  --volume "$(npm config get cache):/mnt:rw" \
  --tag localhost/sallyport . >/dev/null
took 'the Dockerfile'

container=$(b from --pull-never localhost/sallyport)
b inspect --type image localhost/sallyport >"$work/image.json"
node_modules/.bin/node scripts/image-check.ts "$(b mount "$container")" "$work/image.json"
took 'run of the image'
b umount "$container" >/dev/null
b rm "$container" >/dev/null

target=${archive:-$work/sallyport.tar}
rm -f "$target"
b push --quiet localhost/sallyport "docker-archive:$target:sallyport:latest"
took 'archive'
echo "size: $(du -m "$target" | cut -f1) MB unpacked, $(gzip -1 -c "$target" | wc -c | awk '{ printf "%d", $1 / 1000000 }') MB compressed"
