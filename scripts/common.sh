# What the scripts share: messages, one run at a time, retries, checked downloads. Sourced, from the root of the source tree.
# shellcheck shell=bash disable=SC2154

say() { echo "$script: $*"; }
die() {
  echo "$script: error: $*" >&2
  exit 1
}

# retry COMMAND...: up to three times, for the network's sake.
retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return
    [ "$attempt" = 3 ] || { say "trying again: $*" >&2 && sleep $((attempt * 5)); }
  done
  return 1
}

# one_at_a_time: a second script that would write to .deps waits here until the first has ended.
one_at_a_time() {
  mkdir -p .deps
  exec 9>.deps/lock
  flock -n 9 || { say "waiting for another script that is writing to .deps" && flock 9; }
}

# need_space MIB: fails now rather than half way through.
need_space() {
  local free
  free=$(df -Pm .deps | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$1" ] || die "$1 MiB are needed on the disk that holds $PWD/.deps, $free are free"
}

has_sha256() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d ' ' -f 1)" = "$2" ]; }

# fetch_wheel NAME VERSION FILE SHA256: that wheel into .deps/wheels, for CPython 3.11 whatever Python this machine has.
# What is left of an interrupted download is recognised by its checksum and fetched again.
fetch_wheel() {
  local name=$1 version=$2 file=.deps/wheels/$3 sha256=$4
  if has_sha256 "$file" "$sha256"; then return; fi
  rm -f "$file"
  mkdir -p .deps/wheels
  retry python3 -m pip --disable-pip-version-check download -q --no-deps --no-cache-dir --only-binary=:all: --retries 5 --timeout 60 \
    --python-version 3.11 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 \
    --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d .deps/wheels "$name==$version" ||
    die "could not download $name $version; the network, or pip's settings for the package index, may be the cause"
  has_sha256 "$file" "$sha256" || die "$file is not the file that scripts/versions.sh names (sha256 $sha256)"
}

# parallel_jobs: as many compilers as there are cores, if each has 2 GiB.
parallel_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/MemAvailable/ { print int($2 / 2097152) }' /proc/meminfo)
  [ "$memory" -ge 1 ] || memory=1
  echo $((cores < memory ? cores : memory))
}

# source_files PATTERN...: our files of these patterns, separated by zero bytes; also where git's folder is absent.
source_files() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files -z --cached --others --exclude-standard --deduplicate -- "$@" | while IFS= read -r -d '' file; do
      if [ -f "$file" ]; then printf '%s\0' "$file"; fi
    done
  else
    local pattern
    for pattern in "$@"; do find hedgehog cli tests benchmarks -type f -name "$pattern" -print0; done
  fi
}
