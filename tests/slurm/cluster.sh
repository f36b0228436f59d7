#!/usr/bin/env bash
# A SLURM of one node on the loopback, for as long as a command runs: tests/slurm/cluster.sh COMMAND [ARGUMENT ...]
# Debian: apt-get install slurm-wlm munge. No systemd, no cgroups, no accounting; every file lies below one temporary
# folder, and nothing is left running. tests/slurm runs its tests only within (TEST_SLURM=1), never on a real cluster.
set -euo pipefail

if [ $# -eq 0 ]; then
    echo "usage: tests/slurm/cluster.sh COMMAND [ARGUMENT ...]" >&2
    exit 2
fi
PATH=$PATH:/usr/sbin:/sbin
for program in munged slurmctld slurmd sinfo; do
    if ! command -v "$program" >/dev/null; then
        echo "tests/slurm/cluster.sh: needs $program (Debian: apt-get install slurm-wlm munge)" >&2
        exit 2
    fi
done

folder=$(mktemp -d /tmp/slurm.XXXXXX)
daemons=()
stop() {
    status=$?
    trap '' INT TERM
    set +e
    scancel --user="$(id -un)" 2>/dev/null  # or jobs would outlive slurmd
    for _ in $(seq 150); do
        [ -n "$(squeue --noheader 2>/dev/null)" ] && sleep 0.2 || break
    done
    for ((index = ${#daemons[@]} - 1; index >= 0; index--)); do
        kill "${daemons[index]}" 2>/dev/null
    done
    for daemon in "${daemons[@]}"; do
        for _ in $(seq 50); do kill -0 "$daemon" 2>/dev/null && sleep 0.1; done
        kill -KILL "$daemon" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$folder"
    exit "$status"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

chmod 755 "$folder"
mkdir "$folder"/munge "$folder"/state "$folder"/spool
chmod 711 "$folder"/munge
head -c 1024 /dev/urandom >"$folder"/munge/key
chmod 400 "$folder"/munge/key

touch "$folder"/plugstack.conf
cat >"$folder"/slurm.conf <<CONFIGURATION
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,requeue_delay=1
PlugStackConfig=$folder/plugstack.conf
JobRequeue=0
KillWait=10
MinJobAge=600
InactiveLimit=0
ReturnToService=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=60 State=UP OverSubscribe=NO
CONFIGURATION
export SLURM_CONF=$folder/slurm.conf TEST_SLURM=1

munged --foreground --key-file="$folder"/munge/key --socket="$folder"/munge/socket --pid-file="$folder"/munge/pid \
    --log-file="$folder"/munge/log --seed-file="$folder"/munge/seed --num-threads=2 2>"$folder"/munge/err &
daemons+=($!)
for _ in $(seq 50); do [ -S "$folder"/munge/socket ] && break || sleep 0.1; done
slurmctld -D >/dev/null 2>&1 &
daemons+=($!)
slurmd -D >/dev/null 2>&1 &
daemons+=($!)
for _ in $(seq 100); do
    [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && break || sleep 0.2
done
if [ "$(sinfo --noheader --format=%T)" != idle ]; then
    echo "tests/slurm/cluster.sh: the node did not become idle" >&2
    tail -n 30 "$folder"/munge/err "$folder"/slurmctld.log "$folder"/slurmd.log >&2
    exit 1
fi
"$@"
