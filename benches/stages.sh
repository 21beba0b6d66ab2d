#!/bin/bash
# CPU seconds (user + system) of commands on workflows of many stages: they grow with the stages, not
# with their square.   benches/stages.sh target/release/climb [chain|flat|gather] [SIZE...]
set -eu
climb=$(realpath "$1"); shape=${2:-chain}; shift; shift || true
workflow() {
    echo "stages:"
    for ((i = 0; i < $1; i++)); do
        local needs="" run='echo x > $CLIMB_OUTPUT_O'
        if [ "$shape" = chain ] && [ "$i" -gt 0 ]; then
            needs="needs: {i: s$((i - 1))}, "; run='cat $CLIMB_INPUT_I > $CLIMB_OUTPUT_O'
        fi
        echo "  s$i: {uses: command, ${needs}with: {run: '$run', outputs: {o: text}}}"
    done
    if [ "$shape" = gather ]; then
        echo "  sum: {uses: command, needs: {i: [$(seq -s, -f 's%g' 0 $(($1 - 1)))]}, with: {run: 'echo y > \$CLIMB_OUTPUT_O', outputs: {o: text}}}"
    fi
}
for size in "${@:-1000 8000}"; do for n in $size; do
    folder=$(mktemp -d); cd "$folder"; workflow "$n" > w.yaml
    for command in "check w.yaml" "plan w.yaml" "explain w.yaml"; do
        seconds=$( { TIMEFORMAT='%U %S'; time "$climb" $command > /dev/null 2>&1; } 2>&1 )
        echo "$shape $n stages, $command: $seconds"
    done
    cd /; rm -rf "$folder"
done; done
