#!/bin/sh
# Decoding after a short and after a long prompt: tokens per second and resident memory of `hedgehog generate`, runs interleaved.
#   benchmarks/decode_length.sh MODEL [SHORT [LONG [TOKENS [RUNS]]]]       (128 32768 128 3)
# HEDGEHOG: the program (build/release/hedgehog). THREADS: 0, all cores. PROMPT_FILE: a text; without it one is made up.
# For a model in linear or hybrid form the ratio of the speeds should be at least 0.97, and the memory the same within 16 MiB.
set -eu
[ $# -ge 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
model=$1 short=${2:-128} long=${3:-32768} tokens=${4:-128} runs=${5:-3}
program=${HEDGEHOG:-$(dirname "$0")/../build/release/hedgehog}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

prompt=${PROMPT_FILE:-$work/prompt}
if [ -z "${PROMPT_FILE:-}" ]; then
  # A line is at least one token, so that LONG lines are enough.
  awk -v lines="$long" 'BEGIN { for (i = 0; i < lines; ++i) print "On day " i " the hedgehog walked " i * 7 % 101 " steps." }' >"$prompt"
fi

field() { sed -n "s/^ *\"$2\": \([0-9.e+-]*\),\{0,1\}\$/\1/p" "$1"; }

run=1
while [ "$run" -le "$runs" ]; do
  for length in $short $long; do
    out=$work/$length.$run.json
    "$program" generate "$model" --prompt-file "$prompt" --prompt-tokens "$length" --max-tokens "$tokens" --ignore-end \
      --threads "${THREADS:-0}" --json >"$out"
    speed=$(field "$out" tokens_per_second)
    resident=$(field "$out" resident_memory_bytes)
    echo "$speed" >>"$work/$length.speed"
    echo "$resident" >>"$work/$length.resident"
    echo "$(field "$out" prompt_tokens) $speed $(field "$out" prompt_tokens_per_second) $resident $(field "$out" state_bytes)" |
      awk '{ printf "prompt %6d  decode %8.2f tokens/s  prompt %8.1f tokens/s  resident %7.1f MiB  state %8.2f MiB\n",
             $1, $2, $3, $4 / 1048576, $5 / 1048576 }'
  done
  run=$((run + 1))
done

median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
echo "$(median "$work/$short.speed") $(median "$work/$long.speed") $(median "$work/$short.resident") $(median "$work/$long.resident")" |
  awk -v short="$short" -v long="$long" '{
    printf "median: %.2f tokens/s after %d, %.2f after %d: ratio %.3f; resident memory %+.1f MiB\n",
           $1, short, $2, long, $2 / $1, ($4 - $3) / 1048576 }'
